//! One attempt: runs the user's code under its time limit, and reports how it ended whatever happens.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;
use tracing::{Instrument as _, debug, info_span, warn};

use super::intercept::Call;
use super::telemetry;
use crate::checkpoint::Payload;
use crate::codec::WITHHELD;
use crate::definition::Success;
use crate::fault::{Class, Effect, Fault};
use crate::machine::{ProbeAnswer, Report};
use crate::step::{Probe, StepContext};

/// A step that keeps its thread for longer than this is reported: it should have awaited something.
const BLOCKING: Duration = Duration::from_millis(500);

/// Runs the attempt. Dropping the future drops the user's: the attempt's fate is then unknown. When payloads
/// are `secret`, a panic's message is withheld.
///
/// The context goes into the call at once: the future is made for each attempt, and holds no more than it needs.
pub(crate) fn run(
    call: Call,
    cx: StepContext,
    payload_max_bytes: usize,
    secret: bool,
) -> impl Future<Output = Report> + Send {
    let span = info_span!(
        "saga.step",
        saga.id = %cx.saga_id(),
        saga.definition = %cx.definition(),
        saga.step = %cx.step(),
        saga.op = %cx.op(),
        saga.attempt = cx.attempt(),
    );
    let attempt = AssertUnwindSafe(call.begin(cx.clone())).catch_unwind();
    async move {
        let (began, limit) = (Instant::now(), cx.timeout());
        if cx.attempt() > 1 {
            telemetry::retried(&cx);
        }
        let attempt = watchful(attempt, |took| {
            warn!(blocked_ms = took.as_millis(), "the step blocked its thread; move blocking work to spawn_blocking");
            telemetry::blocked(&cx);
        });
        let report = match tokio::time::timeout(limit, attempt).await {
            Ok(Ok(Ok(success))) => accept(success, payload_max_bytes),
            Ok(Ok(Err(error))) => Report::Failed { fault: error.fault().clone(), retry_after: error.retry_after() },
            Ok(Err(_)) if secret => failed(Fault::panicked(WITHHELD)),
            Ok(Err(panic)) => failed(Fault::panicked(panic_message(&*panic))),
            Err(_) => failed(Fault::timed_out(limit)),
        };
        let fault = match &report {
            Report::Failed { fault, .. } => Some(fault),
            Report::Done(_) | Report::Probed(_) | Report::Compensated => None,
        };
        telemetry::attempted(&cx, began.elapsed(), fault.is_some());
        if let Some(fault) = fault {
            debug!(class = ?fault.class, effect = ?fault.effect, error = %fault.message, "the attempt failed");
        }
        report
    }
    .instrument(span)
}

/// Tells when the future kept its thread for long: while it does, heartbeats and time limits wait.
async fn watchful<T>(future: impl Future<Output = T>, blocked: impl Fn(Duration)) -> T {
    let mut future = pin!(future);
    poll_fn(|context| {
        // The real clock: a thread that is blocked does not see virtual time pass.
        let began = std::time::Instant::now();
        let answer = future.as_mut().poll(context);
        let took = began.elapsed();
        if took > BLOCKING {
            blocked(took);
        }
        answer
    })
    .await
}

fn failed(fault: Fault) -> Report {
    Report::Failed { fault, retry_after: None::<Duration> }
}

fn accept(success: Success, payload_max_bytes: usize) -> Report {
    let fits = |output: &Payload| output.len() <= payload_max_bytes;
    match success {
        Success::Output(output) if fits(&output) => Report::Done(output),
        Success::Output(output) | Success::Probed(Probe::Applied(output)) if !fits(&output) => {
            too_large(&output, payload_max_bytes)
        }
        Success::Output(output) => Report::Done(output),
        Success::Probed(Probe::Applied(output)) => Report::Probed(ProbeAnswer::Applied(output)),
        Success::Probed(Probe::NotApplied) => Report::Probed(ProbeAnswer::NotApplied),
        Success::Probed(Probe::Unknown | Probe::Unsupported) => Report::Probed(ProbeAnswer::Unknown),
        Success::Compensated => Report::Compensated,
    }
}

/// The effect has happened and cannot be written down: its fate is unknown, and no retry helps.
fn too_large(output: &Payload, max: usize) -> Report {
    failed(Fault {
        class: Class::Terminal,
        effect: Effect::Unknown,
        message: format!("the output has {} bytes encoded, and payload_max_bytes is {max}", output.len()),
    })
}

pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}
