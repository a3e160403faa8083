//! The check before a deploy.

use std::time::Duration;

use saga_core::journal::{MemoryJournal, SagaStatus};
use saga_core::{Checkpoint, Definition, Source as _, step_fn};
use serde::{Deserialize, Serialize};

use super::support::{unhurried, until};

#[derive(Clone, Serialize, Deserialize)]
struct OldHold {
    id: String,
}

#[derive(Clone, Serialize, Deserialize)]
struct NewHold {
    id: String,
    currency: String,
}

#[derive(Clone, Serialize, Deserialize)]
struct Upcast {
    id: String,
    #[serde(default)]
    currency: String,
}

/// Holds, and sleeps for long.
fn definition<T: Checkpoint>(
    name: &str,
    version: u32,
    hold: impl Fn() -> T + Send + Sync + 'static,
) -> Definition<i64, ()> {
    let hold = std::sync::Arc::new(hold);
    Definition::build(name, version, |saga, n| {
        let hold = hold.clone();
        let held = saga.query(
            "hold",
            step_fn(move |_, _: i64| {
                let held = hold();
                async move { Ok(held) }
            }),
            n,
        );
        let slept = saga.sleep("sleep", held.map(|_: T| Duration::from_secs(1_000_000)));
        saga.returns(slept)
    })
    .unwrap()
}

fn old(name: &str, version: u32) -> Definition<i64, ()> {
    definition(name, version, || OldHold { id: "h".to_owned() })
}

#[tokio::test(start_paused = true)]
async fn a_binary_is_told_what_it_can_continue_before_it_runs_anything() {
    let journal = MemoryJournal::new();
    let (first, second, other) = (old("pay", 1), old("pay", 2), old("refund", 1));
    let before = unhurried(&journal).register(&first).register(&second).register(&other).open().await.unwrap();
    for nth in 0..3 {
        for definition in [&first, &other] {
            let saga = before.start(definition, &format!("k{nth}"), 1).await.unwrap().id();
            until("asleep", async || before.status(saga).await.unwrap().unwrap().status == SagaStatus::Waiting).await;
        }
    }
    let saga = before.start(&second, "v2", 1).await.unwrap().id();
    until("asleep", async || before.status(saga).await.unwrap().unwrap().status == SagaStatus::Waiting).await;
    assert!(before.check().await.unwrap().is_clean());

    // The new binary knows version 1 of `pay` with another type, and nothing of `refund` and of version 2.
    let changed = definition("pay", 1, || NewHold { id: "h".to_owned(), currency: "EUR".to_owned() });
    let after = unhurried(&journal).register(&changed).client_only().open().await.unwrap();
    let report = after.check().await.unwrap();
    assert!(!report.is_clean());
    let unregistered: Vec<_> = report.unregistered.into_iter().collect();
    assert_eq!(unregistered, [(("pay".to_owned(), 2), 1), (("refund".to_owned(), 1), 3)]);
    assert_eq!(report.undecodable.len(), 3);
    assert_eq!(report.undecodable[0].step.as_str(), "hold");
    assert!(report.undecodable[0].error.contains("currency"), "{}", report.undecodable[0].error);
    assert!(report.continues.is_empty() && report.unreadable.is_empty());

    // With an upcaster, and all that is under way registered, it can go on.
    let upcast = definition("pay", 1, || Upcast { id: "h".to_owned(), currency: "EUR".to_owned() });
    let fixed = unhurried(&journal).register(&upcast).register(&second).register(&other).client_only();
    let report = fixed.open().await.unwrap().check().await.unwrap();
    assert!(report.is_clean());
    assert_eq!(report.continues[&("pay".to_owned(), 1)], 3);

    // A definition that has lost the step that they are at is refused when the engine opens.
    let shorter = Definition::build("pay", 1, |saga, n| {
        let only = saga.query("hold", step_fn(async |_, n: i64| Ok(n)), n);
        saga.returns(only)
    })
    .unwrap();
    assert!(unhurried(&journal).register(&shorter).client_only().open().await.is_err());
}
