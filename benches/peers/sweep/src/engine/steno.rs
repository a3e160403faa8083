//! `steno`: the program of its example `trip`, with a store of our own on Postgres, as it asks for; a saga that is
//! found in the store is resumed. It has no retries: the actions call three times themselves.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use steno::{
    Action, ActionContext, ActionError, ActionFunc, ActionRegistry, DagBuilder, Node, SagaDag, SagaId, SagaName,
};
use steno::{SagaType, SecStore};

use super::steno_store::Store;
use super::{CheckoutError, Failure, key};
use crate::ledger::{End, Ledger, Op, Trouble};

const ATTEMPTS: u32 = 3;
const BETWEEN: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Checkout;

impl SagaType for Checkout {
    type ExecContextType = Ledger;
}

#[derive(Debug, Serialize, Deserialize)]
struct Params {
    id: String,
}

type Context = ActionContext<Checkout>;

/// See [`super::run`].
pub async fn run(url: &str, id: &str, ledger: Ledger) -> Result<(End, String), Failure> {
    let store = Arc::new(Store::open(url).await?);
    let sec = steno::sec(slog::Logger::root(slog::Discard, slog::o!()), store.clone() as Arc<dyn SecStore>);
    let actions = [action(Op::Authorize), action(Op::CreateOrder), action(Op::Capture)];
    let mut registry = ActionRegistry::new();
    actions.iter().for_each(|action| registry.register(action.clone()));
    let (registry, context, saga): (_, _, SagaId) = (Arc::new(registry), Arc::new(ledger), id.parse()?);
    let ends = match store.load(id).await? {
        Some((dag, events)) => sec.saga_resume(saga, context, dag, registry, events).await?,
        None => {
            let mut dag = DagBuilder::new(SagaName::new("checkout"));
            for (op, action) in Op::ALL.into_iter().zip(&actions) {
                dag.append(Node::action(op.name(), op.name(), action.as_ref()));
            }
            let params = serde_json::to_value(Params { id: id.to_owned() })?;
            sec.saga_create(saga, context, Arc::new(SagaDag::new(dag.build()?, params)), registry).await?
        }
    };
    sec.saga_start(saga).await?;
    Ok(match ends.await.kind {
        Ok(_) => (End::Completed, String::new()),
        Err(failed) => match failed.undo_failure {
            None => (End::RolledBack, failed.error_source.to_string()),
            Some((node, error)) => (End::UndoFailed, format!("{}: {error}", node.as_ref())),
        },
    })
}

fn action(op: Op) -> Arc<dyn Action<Checkout>> {
    match op {
        Op::Authorize => ActionFunc::new_action("authorize", authorize, void),
        Op::CreateOrder => ActionFunc::new_action("create-order", create_order, cancel_order),
        Op::Capture => ActionFunc::new_action("capture", capture, refund),
    }
}

async fn authorize(context: Context) -> Result<(), ActionError> {
    perform(context, Op::Authorize).await
}

async fn void(context: Context) -> Result<(), anyhow::Error> {
    undo(context, Op::Authorize).await
}

async fn create_order(context: Context) -> Result<(), ActionError> {
    perform(context, Op::CreateOrder).await
}

async fn cancel_order(context: Context) -> Result<(), anyhow::Error> {
    undo(context, Op::CreateOrder).await
}

async fn capture(context: Context) -> Result<(), ActionError> {
    perform(context, Op::Capture).await
}

async fn refund(context: Context) -> Result<(), anyhow::Error> {
    undo(context, Op::Capture).await
}

async fn perform(context: Context, op: Op) -> Result<(), ActionError> {
    let id = context.saga_params::<Params>()?.id;
    let mut trouble = Trouble::NoAnswer;
    for _ in 0..ATTEMPTS {
        match context.user_data().perform(op, key(&id, op)).await {
            Ok(()) => return Ok(()),
            Err(Trouble::Declined) => return Err(ActionError::action_failed(CheckoutError::Declined)),
            Err(again) => trouble = again,
        }
        tokio::time::sleep(BETWEEN).await;
    }
    Err(ActionError::action_failed(CheckoutError::from(trouble)))
}

async fn undo(context: Context, op: Op) -> Result<(), anyhow::Error> {
    let id = context.saga_params::<Params>()?.id;
    for _ in 1..ATTEMPTS {
        if context.user_data().undo(op, key(&id, op)).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(BETWEEN).await;
    }
    Ok(context.user_data().undo(op, key(&id, op)).await?)
}
