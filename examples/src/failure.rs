//! How a program ends that could not do what it was asked.

use std::error::Error;
use std::process::ExitCode;

/// Tells what happened, and all that it came of.
#[must_use]
pub fn told(error: &(dyn Error + 'static)) -> ExitCode {
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
    ExitCode::FAILURE
}
