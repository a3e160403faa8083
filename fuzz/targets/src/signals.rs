//! Signals, and messages as they lie in a journal: a saga takes them in, or says why not, and others go on.

use saga_core::journal::{Journal as _, MemoryJournal, Message};
use saga_core::{Payload, SagaOutcome};

use crate::world;

/// The first line is a signal's name, the second one its payload, and each further one a message as it is stored.
pub fn run(bytes: &[u8]) {
    let Some(lines) = crate::lines(bytes) else { return };
    world::in_no_time(async {
        let journal = MemoryJournal::new();
        let engine = world::worker(&journal).await;
        for definition in world::definitions() {
            let waiting = engine.start(definition, "order-4", 4).await.unwrap();
            let name = definition.name();
            let payload = lines.get(1).and_then(|text| Payload::from_json((*text).to_owned()).ok());
            if let Some(payload) = payload {
                let value: serde_json::Value = serde_json::from_str(payload.as_json()).unwrap_or_default();
                engine.signal(name, "order-4", lines[0], &value, "evt-1").await.ok();
            }
            for (nth, body) in lines.iter().skip(2).take(8).enumerate() {
                let (definition, key) = (name.to_owned(), "order-4".to_owned());
                let message = Message { definition, key, id: format!("raw-{nth}"), body: (*body).to_owned() };
                journal.send(&[message]).await.unwrap();
            }
            // It may have been called off, or go on waiting, or wait for a human; whatever it is, it can be told.
            tokio::time::sleep(std::time::Duration::from_secs(3)).await;
            match waiting.outcome_now().await.unwrap() {
                Some(SagaOutcome::Completed(paid)) => assert_eq!(paid, 4),
                Some(SagaOutcome::RolledBack(_) | SagaOutcome::NeedsAttention(_)) | None => {}
            }
        }
        world::still_works(&engine).await;
    });
}
