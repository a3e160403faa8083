//! `dbos`: steps with the retry policy that the documentation of `step_with` shows (three attempts), compensations
//! as steps of the workflow, recovery by `launch` under the default executor id, and the caller's key as the
//! workflow's id.

use dbos::{Config, DBOS, RunOptions, StepOptions, step_with};

use super::{CheckoutError, Failure, key, ledger};
use crate::ledger::{End, Op};

type Done = dbos::Result<(), CheckoutError>;

/// See [`super::run`].
pub async fn run(url: &str, id: &str, careful: bool) -> Result<(End, String), Failure> {
    let version = Some(env!("CARGO_PKG_VERSION").to_owned());
    let instance = DBOS::new(Config { app_version: version, ..Config::new("sweep", url) });
    let workflow = instance.register_workflow("checkout", checkout)?;
    instance.launch().await?;
    let options = RunOptions { workflow_id: Some(id), ..RunOptions::default() };
    Ok(match workflow.run_with(careful, options).await {
        Ok(()) => (End::Completed, String::new()),
        Err(error) => (told(&error).map_or(End::EngineError, CheckoutError::end), error.to_string()),
    })
}

async fn checkout(careful: bool) -> Done {
    let mut owed = Vec::new();
    for op in Op::ALL {
        let Err(error) = perform(op).await else {
            owed.push(op);
            continue;
        };
        // What the engine itself fails with is no outcome: the workflow goes on when it is recovered.
        let Some(failure) = told(&error) else { return Err(error) };
        if careful && failure == CheckoutError::NoAnswer {
            owed.push(op);
        }
        for op in owed.into_iter().rev() {
            undo(op).await?;
        }
        return Err(error);
    }
    Ok(())
}

async fn perform(op: Op) -> Done {
    step_with(op.name(), options(), move || async move {
        let ledger = ledger()?;
        Ok(ledger.perform(op, this_key(op)).await.map_err(CheckoutError::from)?)
    })
    .await
}

async fn undo(op: Op) -> Done {
    step_with(op.undo_name(), options(), move || async move {
        let ledger = ledger()?;
        Ok(ledger.undo(op, this_key(op)).await.map_err(|_| CheckoutError::UndoFailed(op))?)
    })
    .await
}

fn this_key(op: Op) -> String {
    key(&dbos::workflow_id().unwrap_or_default(), op)
}

fn options() -> StepOptions<CheckoutError> {
    let options = StepOptions { max_attempts: 3, ..StepOptions::default() };
    options.should_retry(|error| !matches!(error, dbos::Error::Application(CheckoutError::Declined)))
}

/// Which of the program's own errors it is; that of the last attempt, when all of them failed.
fn told(error: &dbos::Error<CheckoutError>) -> Option<CheckoutError> {
    match error {
        dbos::Error::Application(own) => Some(*own),
        dbos::Error::MaxStepRetriesExceeded { errors, .. } => errors.last().and_then(told),
        _ => None,
    }
}
