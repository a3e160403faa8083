//! Dead letters are pushed, and pushed again until somebody has taken them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use saga_core::engine::Alert;
use saga_core::journal::{DeadLetter, MemoryJournal};
use saga_core::{Definition, StepError, async_trait, step_fn};

use super::support::{dead_letters, engine, until};

#[derive(Clone, Debug, Default)]
struct Pager(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl Alert for Pager {
    async fn alert(&self, letter: &DeadLetter) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut calls = self.0.lock().unwrap();
        calls.push(letter.error.clone());
        if calls.len() == 1 { Err("the pager is out of paper".into()) } else { Ok(()) }
    }
}

#[tokio::test(start_paused = true)]
async fn an_alert_is_repeated_until_it_is_taken() {
    let definition = Definition::build("alert", 1, |saga, input| {
        let pay = saga.pivot("pay", step_fn(async |_, n: i64| Ok(n)), input);
        let fail = saga.retryable("fail", step_fn(async |_, _: i64| Err::<(), _>(StepError::fatal("broken"))), pay);
        saga.returns(fail)
    })
    .unwrap();
    let pager = Pager::default();
    let engine = engine(&MemoryJournal::new()).register(&definition).on_alert(pager.clone()).open().await.unwrap();
    let saga = engine.start(&definition, "k", 1).await.unwrap();
    dead_letters(&saga).await;
    until("repeated", async || pager.0.lock().unwrap().len() == 2).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(*pager.0.lock().unwrap(), ["broken", "broken"]);
}
