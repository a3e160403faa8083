//! How locks and unpublished events are shown.

use saga_core::journal::{DeadEvent, LockEntry};
use serde_json::{Value, json};

use super::table;

pub(super) fn locks(locks: &[LockEntry], as_json: bool) -> String {
    if as_json {
        let lock = |lock: &LockEntry| {
            json!({
                "key": lock.key, "saga": lock.saga.to_string(), "token": lock.token,
                "asked": lock.asked_at.to_utc().to_rfc3339(),
            })
        };
        return Value::Array(locks.iter().map(lock).collect()).to_string();
    }
    let row = |lock: &LockEntry| {
        let has = lock.token.map_or("waits".to_owned(), |token| format!("has it, token {token}"));
        vec![lock.key.clone(), lock.saga.to_string(), has, lock.asked_at.to_utc().format("%F %T").to_string()]
    };
    table(&["entity", "saga", "", "asked"], locks.iter().map(row).collect())
}

pub(super) fn events(events: &[DeadEvent], as_json: bool) -> String {
    if as_json {
        let event = |dead: &DeadEvent| {
            json!({
                "id": dead.event.event.id, "topic": dead.event.event.topic, "saga": dead.event.saga.to_string(),
                "attempts": dead.event.attempts, "error": dead.error, "at": dead.event.at.to_utc().to_rfc3339(),
            })
        };
        return Value::Array(events.iter().map(event).collect()).to_string();
    }
    let row = |dead: &DeadEvent| {
        vec![
            dead.event.event.id.clone(),
            dead.event.event.topic.clone(),
            dead.event.saga.to_string(),
            dead.event.attempts.to_string(),
            dead.error.clone(),
        ]
    };
    table(&["event", "topic", "saga", "attempts", "error"], events.iter().map(row).collect())
}
