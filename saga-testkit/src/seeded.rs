//! Seeded bugs: that a test finds a defect which was built in on purpose.

use std::env;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A test that has not failed by then has not found anything: it hangs.
const PATIENCE: Duration = Duration::from_secs(240);

/// Asserts that the `scenario`, a test of the present test binary, fails in a process that has this `bug` in it, and
/// that what it says then `shows` why. That it passes without the bug is what it says as an ordinary test.
///
/// # Panics
/// When the bug is not found.
pub fn assert_caught(bug: &str, scenario: &str, shows: &str) {
    let binary = env::current_exe().unwrap_or_else(|problem| panic!("no path of this binary: {problem}"));
    let mut command = Command::new(binary);
    command.args([scenario, "--exact", "--nocapture", "--test-threads", "1"]);
    command.env("SAGA_SEEDED_BUG", bug).env("RUST_BACKTRACE", "0").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|problem| panic!("the test does not start: {problem}"));
    let (out, err) = (read(child.stdout.take()), read(child.stderr.take()));
    let passed = ended(&mut child, bug, scenario);
    let said = [out, err].map(|text| text.join().unwrap_or_default()).join("\n");
    assert!(said.contains("running 1 test"), "there is no test {scenario}: {said}");
    assert!(!passed, "{bug} is not found by {scenario}");
    assert!(said.contains(shows), "{bug}: {scenario} fails, and does not say `{shows}`: {said}");
    println!("\nseeded bug {bug} is caught by {scenario}");
}

/// Whether the test passed.
fn ended(child: &mut Child, bug: &str, scenario: &str) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            unfinished => {
                child.kill().ok();
                panic!("{bug}: {scenario} does not come to an end: {unfinished:?}");
            }
        }
    }
}

fn read(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut text).ok();
        }
        String::from_utf8_lossy(&text).into_owned()
    })
}
