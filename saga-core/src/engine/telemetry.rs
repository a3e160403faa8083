//! What the engine tells the outside: every metric's name in one place.
//!
//! The `metrics` facade costs next to nothing while the host has installed no recorder. No metric is
//! labelled with a saga's id.

use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, histogram};

use crate::journal::End;
use crate::machine::AttentionReason;
use crate::step::StepContext;

/// A saga was created by this engine.
pub(crate) fn started(definition: &Arc<str>) {
    counter!("saga_started_total", "definition" => definition.clone()).increment(1);
}

/// A saga ended on this worker.
pub(crate) fn ended(definition: &Arc<str>, end: End) {
    let name = match end {
        End::Completed => "saga_completed_total",
        End::RolledBack => "saga_compensated_total",
    };
    counter!(name, "definition" => definition.clone()).increment(1);
}

/// Signals that no step has taken when their saga ended.
pub(crate) fn late_signals(definition: &Arc<str>, count: u64) {
    counter!("saga_late_signals_total", "definition" => definition.clone()).increment(count);
}

/// Effects came after their compensations.
pub(crate) fn late_effects(definition: &Arc<str>, count: u64) {
    counter!("saga_late_effects_total", "definition" => definition.clone()).increment(count);
}

/// A dead letter was opened.
pub(crate) fn dead_lettered(definition: &Arc<str>, reason: AttentionReason) {
    counter!("saga_dead_lettered_total", "definition" => definition.clone(), "reason" => reason.as_str()).increment(1);
}

/// An attempt ended.
pub(crate) fn attempted(cx: &StepContext, took: Duration, failed: bool) {
    let (definition, step) = cx.names();
    histogram!(
        "saga_step_duration_seconds",
        "definition" => definition.clone(),
        "step" => step.shared(),
        "op" => cx.op().as_str(),
        "result" => if failed { "failed" } else { "ok" },
    )
    .record(took);
}

/// A step kept its thread for long.
pub(crate) fn blocked(cx: &StepContext) {
    let (definition, step) = cx.names();
    counter!("saga_step_blocked_total", "definition" => definition.clone(), "step" => step.shared()).increment(1);
}

/// An attempt after the first began.
pub(crate) fn retried(cx: &StepContext) {
    let (definition, step) = cx.names();
    counter!(
        "saga_step_retries_total",
        "definition" => definition.clone(),
        "step" => step.shared(),
        "op" => cx.op().as_str(),
    )
    .increment(1);
}

/// A batch of turns was committed.
pub(crate) fn committed(turns: usize, took: Duration) {
    #[expect(clippy::cast_precision_loss, reason = "a batch has at most some thousand turns")]
    histogram!("saga_commit_batch_size").record(turns as f64);
    histogram!("saga_commit_seconds").record(took);
}

/// This worker lost its lease.
pub(crate) fn lease_lost() {
    counter!("saga_lease_lost_total").increment(1);
}

/// Sagas were taken over from workers whose leases lapsed.
pub(crate) fn taken_over(sagas: usize) {
    counter!("saga_taken_over_total").increment(sagas as u64);
}

/// Ended sagas were deleted after their retention.
pub(crate) fn swept(sagas: u64) {
    counter!("saga_swept_total").increment(sagas);
}

/// The broker has events.
pub(crate) fn published(count: u64) {
    counter!("saga_events_published_total").increment(count);
}

/// How long after its commit an event was with the broker.
pub(crate) fn publish_lag(lag: Duration) {
    histogram!("saga_publish_lag_seconds").record(lag.as_secs_f64());
}

/// An event was not taken, and is tried again.
pub(crate) fn publish_failed() {
    counter!("saga_publish_failures_total").increment(1);
}

/// An event waits for a human.
pub(crate) fn event_dead() {
    counter!("saga_dead_events_total").increment(1);
}
