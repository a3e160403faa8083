//! Ours: two compensatable steps without a probe, and the capture as the pivot, with one. As many attempts as the
//! peers have; a compensation is given up after five, and not after days, so that a run ends.

use std::time::Duration;

use saga_core::{
    Compensation, Definition, Engine, Outcome, Probe, RetryPolicy, SagaOutcome, Step, StepContext, StepError,
    async_trait,
};
use saga_postgres::PostgresBuilder;

use super::Failure;
use crate::ledger::{End, Ledger, Op, Trouble};

/// How long a gone worker's sagas stand still; 15 s by default.
const LEASE_TTL: Duration = Duration::from_secs(2);

struct Effect {
    ledger: Ledger,
    op: Op,
}

#[async_trait]
impl Step for Effect {
    type Input = ();
    type Output = ();

    async fn run(&self, cx: &StepContext, (): ()) -> Result<(), StepError> {
        self.ledger.perform(self.op, cx.key().to_string()).await.map_err(|trouble| match trouble {
            Trouble::Declined => StepError::rejected(trouble),
            Trouble::NoAnswer | Trouble::Refused => StepError::retry(trouble),
        })
    }

    async fn probe(&self, cx: &StepContext, (): ()) -> Result<Probe<()>, StepError> {
        match self.op {
            Op::Authorize | Op::CreateOrder => Ok(Probe::Unsupported),
            Op::Capture => match self.ledger.probe(self.op, cx.key().to_string()).await {
                Ok(true) => Ok(Probe::Applied(())),
                Ok(false) => Ok(Probe::NotApplied),
                Err(_) => Ok(Probe::Unknown),
            },
        }
    }
}

#[async_trait]
impl Compensation for Effect {
    async fn compensate(&self, cx: &StepContext, (): (), _: Outcome<()>) -> Result<(), StepError> {
        self.ledger.undo(self.op, cx.step_key().to_string()).await.map_err(StepError::retry)
    }
}

/// See [`super::run`].
pub async fn run(url: &str, id: &str, ledger: Ledger) -> Result<(End, String), Failure> {
    let checkout = checkout(ledger)?;
    let journal = PostgresBuilder::from_url(url)?.open().await?;
    let engine = Engine::builder(journal).lease_ttl(LEASE_TTL).poll_interval(Duration::from_millis(25));
    let engine = engine.register(&checkout).open().await?;
    let saga = engine.start(&checkout, id, ()).await?;
    Ok(match saga.outcome().await {
        Ok(SagaOutcome::Completed(())) => (End::Completed, String::new()),
        Ok(SagaOutcome::RolledBack(failure)) => (End::RolledBack, failure.to_string()),
        Ok(SagaOutcome::NeedsAttention(letters)) => (End::NeedsHuman, format!("{letters:?}")),
        Err(error) => (End::EngineError, error.to_string()),
    })
}

fn checkout(ledger: Ledger) -> Result<Definition<(), ()>, Failure> {
    let some = |attempts| RetryPolicy::fixed(Duration::from_millis(100)).attempts(attempts);
    let effect = |op| Effect { ledger, op };
    Ok(Definition::build("checkout", 1, |saga, _| {
        for op in [Op::Authorize, Op::CreateOrder] {
            let _ = saga.compensatable(op.name(), effect(op), ()).retry(some(3)).compensation_retry(some(5));
        }
        let _ = saga.pivot(Op::Capture.name(), effect(Op::Capture), ()).retry(some(3));
        saga.returns(())
    })?)
}
