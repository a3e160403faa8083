//! Sagas that do nothing but leave about 100 bytes at each step.

use saga_core::{BuildError, Definition, StepContext, StepError, step_fn};

/// What each step leaves: as long as the result of a small call.
const RESULT: &str =
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456";

async fn step(_cx: StepContext, _input: String) -> Result<String, StepError> {
    Ok(RESULT.to_owned())
}

/// A saga of `steps` steps in sequence, each without effect.
///
/// # Errors
/// Never for `steps` of one or more.
pub fn noop(steps: usize) -> Result<Definition<String, String>, BuildError> {
    Definition::build(&format!("noop-{steps}"), 1, |saga, input| {
        let mut last = saga.query("step-1", step_fn(step), input);
        for nth in 2..=steps {
            last = saga.query(&format!("step-{nth}"), step_fn(step), last);
        }
        saga.returns(last)
    })
}
