//! The sagas that campaigns run: one of each shape, all of them against the same ledger.

use std::sync::Arc;
use std::time::Duration;

use saga_core::codec::{AesGcmCodec, KeyRingError};
use saga_core::engine::EngineBuilder;
use saga_core::{
    BuildError, Compensation, Definition, Event, LateSignal, Locks, Outcome, Probe, RetryPolicy, Source as _, Step,
    StepContext, StepError, async_trait, step_fn,
};
use serde::{Deserialize, Serialize};

use crate::ledger::{Apply, Ledger, Resource, Script, Undo};

/// What all of the sagas are given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its number in the campaign.
    pub number: u64,
    /// What it costs.
    pub cents: i64,
    /// How many goods.
    pub goods: i64,
    /// How many parts a batch has.
    pub parts: Vec<i64>,
    /// The shared entities that are worked on.
    pub entities: Vec<String>,
    /// A secret, that must be seen nowhere.
    pub card: String,
    /// What is to go wrong.
    pub script: Script,
}

/// What one step is to do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Work {
    amount: i64,
    locks: Locks,
    script: Script,
}

/// A step that has an effect in the ledger, under its key.
struct Effect {
    ledger: Ledger,
    resource: Resource,
    probes: bool,
}

impl Effect {
    /// The same, but nobody can ask whether it happened.
    fn without_probe(self) -> Self {
        Self { probes: false, ..self }
    }
}

#[async_trait]
impl Step for Effect {
    type Input = Work;
    type Output = i64;

    async fn run(&self, cx: &StepContext, work: Work) -> Result<i64, StepError> {
        let tokens = work.locks.iter().map(|(entity, token)| (entity.to_owned(), token)).collect();
        let (saga, step, key, epoch) = (cx.saga_id(), cx.step().clone(), cx.key(), cx.epoch());
        let (resource, amount, script) = (self.resource, work.amount, work.script);
        self.ledger.apply(Apply { saga, step, key, epoch, resource, amount, tokens, script }).await?;
        Ok(work.amount)
    }

    async fn probe(&self, cx: &StepContext, work: Work) -> Result<Probe<i64>, StepError> {
        if self.probes { self.ledger.probe(cx.key(), work.amount).await } else { Ok(Probe::Unsupported) }
    }
}

#[async_trait]
impl Compensation for Effect {
    async fn compensate(&self, cx: &StepContext, work: Work, _: Outcome<i64>) -> Result<(), StepError> {
        let (saga, step, script) = (cx.saga_id(), cx.step().clone(), work.script);
        self.ledger.undo(Undo { saga, step, key: cx.step_key(), undo_key: cx.key(), script }).await
    }
}

/// The definitions.
#[derive(Clone, Debug)]
pub struct Sagas {
    /// Reserves, authorizes, captures (the pivot), confirms, tells; its payloads are sealed.
    pub checkout: Definition<Order, ()>,
    /// The next version of it, which looks once more before the money is taken.
    pub checkout_2: Definition<Order, ()>,
    /// A step for each part of a list.
    pub batch: Definition<Order, i64>,
    /// Waits for a payment to be signalled.
    pub payment: Definition<Order, ()>,
    /// Works on shared entities, under their locks.
    pub shelf: Definition<Order, ()>,
    /// Has a batch as its child.
    pub parent: Definition<Order, ()>,
    /// Pays back what was signalled too late.
    pub refund: Definition<LateSignal, ()>,
}

/// The sagas cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SagasError {
    /// A definition breaks a rule.
    #[error("a definition of the campaigns breaks a rule")]
    Build(#[from] BuildError),
    /// The codec's key cannot be used.
    #[error("the codec of the campaigns cannot be made")]
    Codec(#[from] KeyRingError),
}

/// Which definitions a worker holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Holds {
    /// All.
    All,
    /// Only `checkout`, `payment` and `refund`.
    Few,
    /// All, and the next version of `checkout`.
    Both,
}

impl Holds {
    /// Its name, which is in the names of such workers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Few => "few",
            Self::Both => "both",
        }
    }
}

/// The definitions that a worker with [`Holds::Few`] must never touch.
pub const NOT_HELD_BY_FEW: [&str; 3] = ["shelf", "parent", "batch"];
/// The step of each definition that publishes, which is also the topic.
pub const TOPICS: [&str; 3] = ["ordered", "paid", "worked"];
/// What is signalled.
pub const SIGNAL: &str = "paid-up";

fn quick() -> RetryPolicy {
    RetryPolicy::exponential(Duration::from_millis(5)).cap(Duration::from_millis(200)).unbounded()
}

fn some(attempts: u32) -> RetryPolicy {
    RetryPolicy::exponential(Duration::from_millis(5)).cap(Duration::from_millis(50)).attempts(attempts)
}

impl Sagas {
    /// The definitions, on this ledger.
    ///
    /// # Errors
    /// Never, unless a definition below breaks a rule.
    pub fn new(ledger: Ledger) -> Result<Self, SagasError> {
        let effect = |resource| Effect { ledger, resource, probes: true };
        let batch = batch(&effect)?;
        let refund = refund(&effect)?;
        Ok(Self {
            checkout: checkout(&effect, 1)?,
            checkout_2: checkout(&effect, 2)?,
            payment: payment(&effect, &refund)?,
            shelf: shelf(&effect)?,
            parent: parent(&effect, &batch)?,
            batch,
            refund,
        })
    }

    /// Registers what a worker holds.
    #[must_use]
    pub fn register(&self, engine: EngineBuilder, holds: Holds) -> EngineBuilder {
        let few =
            |engine: EngineBuilder| engine.register(&self.checkout).register(&self.payment).register(&self.refund);
        match holds {
            Holds::All => few(engine).register(&self.shelf).register(&self.parent).register(&self.batch),
            Holds::Few => few(engine),
            Holds::Both => self.register(engine, Holds::All).register(&self.checkout_2),
        }
    }
}

/// Turns the saga back when that is what its script says.
fn judge(order: &Order) -> Result<(), StepError> {
    match order.script {
        Script::Declined => Err(StepError::rejected("declined")),
        Script::Fine | Script::PivotSilent | Script::UndoRefused | Script::FirstSilent => Ok(()),
    }
}

fn checkout(effect: &impl Fn(Resource) -> Effect, version: u32) -> Result<Definition<Order, ()>, SagasError> {
    let definition = Definition::build("checkout", version, |saga, order| {
        let goods = |order: Order| Work { amount: order.goods, script: order.script, ..Work::default() };
        let money = |order: Order| Work { amount: order.cents, script: order.script, ..Work::default() };
        let reserve = saga.compensatable("reserve", effect(Resource::Reservation).without_probe(), order.map(goods));
        let _ = reserve.retry(some(4)).compensation_retry(quick());
        let hold = saga.compensatable("authorize", effect(Resource::Hold), order.map(money));
        let _ = hold.retry(some(5)).compensation_retry(quick());
        if version > 1 {
            let look = step_fn(async |_, (order, _): (Order, i64)| Ok(order.cents));
            let _ = saga.query("look-again", look, (order, hold)).retry(quick());
        }
        let capture = saga.pivot("capture", effect(Resource::Capture), order.map(money));
        let _ = capture.retry(some(6));
        let _ = saga.retryable("confirm", effect(Resource::Sale), order.map(goods)).retry(quick());
        let _ = saga.publish("ordered", order.map(|order: Order| Event::new("ordered", order.number)));
        let _ = saga.best_effort("notify", effect(Resource::Other), order.map(goods)).retry(some(2));
        saga.returns(())
    })?;
    let codec = AesGcmCodec::new("campaign", [7; 32])?.with_digest_key([9; 32]);
    Ok(definition.with_codec(Arc::new(codec)))
}

fn batch(effect: &impl Fn(Resource) -> Effect) -> Result<Definition<Order, i64>, SagasError> {
    Ok(Definition::build("batch", 1, |saga, order| {
        let parts = order.map(|order: Order| {
            let work = |amount: i64| Work { amount, script: order.script, ..Work::default() };
            order.parts.iter().copied().map(work).collect::<Vec<_>>()
        });
        let picked = saga.for_each("pick").at_once(2).compensatable(effect(Resource::Other).without_probe(), parts);
        let picked = picked.retry(some(4)).compensation_retry(quick());
        let sum = step_fn(async |_, (order, picked): (Order, Vec<i64>)| {
            judge(&order)?;
            Ok(picked.into_iter().sum::<i64>())
        });
        let sum = saga.query("sum", sum, (order, picked)).retry(quick());
        saga.returns(sum)
    })?)
}

fn payment(
    effect: &impl Fn(Resource) -> Effect,
    refund: &Definition<LateSignal, ()>,
) -> Result<Definition<Order, ()>, SagasError> {
    Ok(Definition::build("payment", 1, |saga, order| {
        saga.on_late_signal(refund);
        let work = |order: Order| Work { amount: order.cents, script: order.script, ..Work::default() };
        let held = saga.compensatable("set-aside", effect(Resource::Other).without_probe(), order.map(work));
        let held = held.retry(some(4)).compensation_retry(quick());
        let paid = saga.wait_for::<u64, _>("wait", SIGNAL, held.map(|_: i64| Some(Duration::from_secs(3))));
        let came = step_fn(async |_, (order, paid): (Order, Option<u64>)| {
            judge(&order)?;
            paid.ok_or_else(|| StepError::rejected("not paid in time"))
        });
        let _ = saga.query("came", came, (order, paid)).retry(quick());
        let _ = saga.publish("paid", order.map(|order: Order| Event::new("paid", order.number)));
        let _ = saga.retryable("ship", effect(Resource::Other), order.map(work)).retry(quick());
        saga.returns(())
    })?)
}

fn shelf(effect: &impl Fn(Resource) -> Effect) -> Result<Definition<Order, ()>, SagasError> {
    Ok(Definition::build("shelf", 1, |saga, order| {
        let entities = order.map(|order: Order| order.entities);
        let locks = saga.lock("lock", entities, Duration::from_secs(3_600));
        let work = |(order, locks): (Order, Locks)| Work { amount: 1, locks, script: order.script };
        let entered = saga.compensatable("enter", effect(Resource::Shelf), (order, locks).map(work));
        let entered = entered.retry(some(4)).compensation_retry(quick());
        let look = step_fn(async |_, (order, _): (Order, i64)| judge(&order));
        let _ = saga.query("look", look, (order, entered)).retry(quick());
        let _ = saga.publish("worked", order.map(|order: Order| Event::new("worked", order.number)));
        let _ = saga.retryable("leave", effect(Resource::Shelf), (order, locks).map(work)).retry(quick());
        saga.returns(())
    })?)
}

fn parent(
    effect: &impl Fn(Resource) -> Effect,
    batch: &Definition<Order, i64>,
) -> Result<Definition<Order, ()>, SagasError> {
    Ok(Definition::build("parent", 1, |saga, order| {
        let work = |order: Order| Work { amount: order.cents, script: order.script, ..Work::default() };
        let opened = saga.compensatable("open", effect(Resource::Other), order.map(work));
        let _ = opened.retry(some(4)).compensation_retry(quick());
        // The child does its part even where the parent is to be declined.
        let for_child = order.map(|order: Order| Order { script: Script::Fine, ..order });
        let _ = saga.child("batch", batch, for_child);
        let look = step_fn(async |_, order: Order| judge(&order));
        let _ = saga.query("look", look, order).retry(quick());
        let _ = saga.retryable("close", effect(Resource::Other), order.map(work)).retry(quick());
        saga.returns(())
    })?)
}

fn refund(effect: &impl Fn(Resource) -> Effect) -> Result<Definition<LateSignal, ()>, SagasError> {
    Ok(Definition::build("refund", 1, |saga, late| {
        let work = late.map(|_: LateSignal| Work { amount: 1, ..Work::default() });
        let _ = saga.retryable("pay-back", effect(Resource::Other), work).retry(quick());
        saga.returns(())
    })?)
}
