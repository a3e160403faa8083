//! `durare`: the program of its example `saga`, with two retries for each step, the pool of its guide to production,
//! and `recover` on start, as its README and its example `order` show.

use std::str::FromStr as _;
use std::sync::Arc;

use durare::{DurableContext, DurableEngine, EngineConfig, PostgresProvider, StepOptions, WorkflowOptions};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::{CheckoutError, Failure, key, ledger};
use crate::ledger::{End, Op};

const SCHEMA: &str = "dbos";

/// See [`super::run`].
pub async fn run(url: &str, id: &str, careful: bool) -> Result<(End, String), Failure> {
    let options = PgConnectOptions::from_str(url)?.options([("search_path", SCHEMA)]);
    let pool = PgPoolOptions::new().max_connections(8).connect_with(options).await?;
    let provider = Arc::new(PostgresProvider::from_pool_with_schema(pool, SCHEMA)?);
    // By default the version is a hash of the executable, which takes seconds where nothing is optimised.
    let config = EngineConfig::default().app_version(env!("CARGO_PKG_VERSION"));
    let engine = DurableEngine::with_config(provider, config).await?;
    engine.recover().await?;
    let handle = engine.start_with(Checkout, careful, WorkflowOptions::with_id(id)).await?;
    Ok(match handle.await {
        Ok(()) => (End::Completed, String::new()),
        Err(error) => {
            let text = error.to_string();
            (told(&error).map_or(End::EngineError, CheckoutError::end), text)
        }
    })
}

#[durare::workflow]
async fn checkout(ctx: DurableContext, careful: bool) -> durare::Result<()> {
    let mut owed = Vec::new();
    for op in Op::ALL {
        let Err(error) = perform(&ctx, op).await else {
            owed.push(op);
            continue;
        };
        // What the engine itself fails with is no outcome: the workflow goes on when it is recovered.
        let Some(failure) = told(&error) else { return Err(error) };
        if careful && failure == CheckoutError::NoAnswer {
            owed.push(op);
        }
        for op in owed.into_iter().rev() {
            undo(&ctx, op).await?;
        }
        return Err(error);
    }
    Ok(())
}

async fn perform(ctx: &DurableContext, op: Op) -> durare::Result<()> {
    let key = key(ctx.workflow_id(), op);
    let options = StepOptions::new(op.name()).max_retries(2);
    let options = options.retry_if(|error| told(error) != Some(CheckoutError::Declined));
    ctx.step_with(options, move || {
        let key = key.clone();
        async move { ledger().map_err(app)?.perform(op, key).await.map_err(|trouble| app(trouble.into())) }
    })
    .await
}

async fn undo(ctx: &DurableContext, op: Op) -> durare::Result<()> {
    let key = key(ctx.workflow_id(), op);
    ctx.step_with(StepOptions::new(op.undo_name()).max_retries(2), move || {
        let key = key.clone();
        async move { ledger().map_err(app)?.undo(op, key).await.map_err(|_| app(CheckoutError::UndoFailed(op))) }
    })
    .await
}

fn app(error: CheckoutError) -> durare::Error {
    durare::Error::app(error.to_string())
}

/// Which of the program's own errors it is, by its text: that is what is recorded.
fn told(error: &durare::Error) -> Option<CheckoutError> {
    let text = error.to_string();
    let undone = Op::ALL.map(CheckoutError::UndoFailed);
    let all = undone.into_iter().chain([CheckoutError::Declined, CheckoutError::NoAnswer]);
    all.into_iter().find(|own| text.ends_with(&own.to_string()))
}
