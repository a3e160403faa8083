//! A model of the engine for [`proptest_state_machine`]: what a user sees of it, in a few lines, against the
//! engine itself. Sagas are started, started again, paid before they wait and after they have ended, workers
//! crash, time passes, in any order; and whatever the order, the outcome of a saga follows from its input and
//! from whether it was paid.
//!
//! ```
//! use proptest::prelude::*;
//! use proptest_state_machine::prop_state_machine;
//! use saga_testkit::random::model::Machine;
//!
//! prop_state_machine! {
//!     #![proptest_config(ProptestConfig::with_cases(8))]
//!     fn the_engine_does_what_its_model_says(sequential 1..20 => Machine);
//! }
//! # the_engine_does_what_its_model_says();
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use saga_core::engine::StartError;
use saga_core::{
    Compensation, Definition, Outcome, Probe, RetryPolicy, SagaOutcome, Source as _, Step, StepContext, StepError,
    async_trait,
};
use tokio::runtime::Runtime;

use super::honest::Honest;
use crate::{TestEngine, World};

/// Which step of a saga refuses: its input says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// None.
    Nobody,
    /// The first.
    Reserve,
    /// The second.
    Hold,
    /// The pivot.
    Capture,
}

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// A saga is started under this key, for the first time or again.
    Start(u8, Refusal),
    /// It is paid, before it starts, while it waits, or after its end; always under one message id.
    Pay(u8),
    /// The worker ends where it stands, and another one takes over.
    Crash,
    /// A write goes through, if there is one to be made.
    Write,
    /// Hours pass.
    Pass(u8),
}

/// What the model knows.
#[derive(Clone, Debug, Default)]
pub struct Model {
    started: BTreeMap<u8, Refusal>,
    paid: BTreeSet<u8>,
}

/// What becomes of a saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fortune {
    /// It waits to be paid: two of its steps are done.
    Waits,
    Completed,
    RolledBack(&'static str),
}

impl Model {
    fn fortune(&self, key: u8) -> Option<Fortune> {
        let paid = self.paid.contains(&key);
        Some(match self.started.get(&key)? {
            Refusal::Reserve => Fortune::RolledBack("reserve"),
            Refusal::Hold => Fortune::RolledBack("hold"),
            Refusal::Nobody | Refusal::Capture if !paid => Fortune::Waits,
            Refusal::Capture => Fortune::RolledBack("capture"),
            Refusal::Nobody => Fortune::Completed,
        })
    }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Transition;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Transition> {
        let refusal = prop_oneof![
            3 => Just(Refusal::Nobody),
            1 => Just(Refusal::Reserve),
            1 => Just(Refusal::Hold),
            1 => Just(Refusal::Capture),
        ];
        prop_oneof![
            3 => (0u8..4, refusal).prop_map(|(key, refusal)| Transition::Start(key, refusal)),
            2 => (0u8..4).prop_map(Transition::Pay),
            2 => Just(Transition::Crash),
            4 => Just(Transition::Write),
            1 => (1u8..72).prop_map(Transition::Pass),
        ]
        .boxed()
    }

    fn apply(mut state: Self, transition: &Transition) -> Self {
        match transition {
            Transition::Start(key, refusal) => _ = state.started.entry(*key).or_insert(*refusal),
            Transition::Pay(key) => _ = state.paid.insert(*key),
            Transition::Crash | Transition::Write | Transition::Pass(_) => {}
        }
        state
    }
}

/// A step that refuses when the saga's input says so.
struct Refusing {
    honest: Honest,
    refuses: i64,
}

#[async_trait]
impl Step for Refusing {
    type Input = i64;
    type Output = i64;

    async fn run(&self, cx: &StepContext, refusal: i64) -> Result<i64, StepError> {
        if refusal == self.refuses {
            return Err(StepError::rejected("no"));
        }
        self.honest.run(cx, refusal).await.map(|_| refusal)
    }

    async fn probe(&self, cx: &StepContext, refusal: i64) -> Result<Probe<i64>, StepError> {
        Ok(match self.honest.probe(cx, refusal).await? {
            Probe::Applied(_) => Probe::Applied(refusal),
            other => other,
        })
    }
}

#[async_trait]
impl Compensation for Refusing {
    async fn compensate(&self, cx: &StepContext, n: i64, outcome: Outcome<i64>) -> Result<(), StepError> {
        self.honest.compensate(cx, n, outcome).await
    }
}

fn definition(world: &World) -> Definition<i64, i64> {
    let step = |what: &str, refusal: Refusal| Refusing { honest: Honest::new(world, what), refuses: refusal as i64 };
    let retry = RetryPolicy::fixed(Duration::from_secs(1)).attempts(1_000);
    let built = Definition::build("model", 1, |saga, refusal| {
        let reserved = saga.compensatable("reserve", step("reserved", Refusal::Reserve), refusal).retry(retry.clone());
        let held = saga.compensatable("hold", step("held", Refusal::Hold), reserved).retry(retry.clone());
        let _ = saga.wait_for::<i64, _>("paid", "paid", held.map(|_| None));
        let captured = saga.pivot("capture", step("captured", Refusal::Capture), held).retry(retry);
        saga.returns(captured)
    });
    built.unwrap_or_else(|problem| panic!("the model's definition: {problem}"))
}

/// The engine, on a runtime of its own with time paused.
#[derive(Debug)]
pub struct Machine {
    runtime: Runtime,
    engine: TestEngine<i64, i64>,
}

fn named(key: u8) -> String {
    format!("order-{key}")
}

impl StateMachineTest for Machine {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(_: &Model) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let runtime = runtime.unwrap_or_else(|problem| panic!("no runtime: {problem}"));
        let engine = runtime.block_on(async {
            let world = World::new();
            // A poisoned step is another story.
            let patient = |engine: saga_core::engine::EngineBuilder| {
                let mut limits = saga_core::Limits::default();
                limits.crashes_max = 1_000;
                engine.limits(limits)
            };
            TestEngine::within(&world, &definition(&world), patient).await
        });
        Self { runtime, engine }
    }

    fn apply(mut sut: Self, state: &Model, transition: Transition) -> Self {
        let Self { runtime, engine } = &mut sut;
        runtime.block_on(async {
            match transition {
                Transition::Start(key, refusal) => {
                    let started = engine.try_start(&named(key), refusal as i64).await;
                    let same = state.started.get(&key) == Some(&refusal);
                    match started {
                        Ok(()) => assert!(same, "another input under the same key was taken"),
                        Err(StartError::KeyConflict { .. }) => assert!(!same, "the same input is refused"),
                        Err(problem) => panic!("{problem}"),
                    }
                }
                Transition::Pay(key) => _ = engine.signal(&named(key), "paid", &1_i64, &format!("pay-{key}")).await,
                Transition::Crash => engine.crash().await,
                Transition::Write => engine.write_once().await,
                Transition::Pass(hours) => engine.advance(Duration::from_secs(u64::from(hours) * 3_600)).await,
            }
        });
        sut
    }

    fn check_invariants(sut: &Self, state: &Model) {
        sut.runtime.block_on(async {
            for key in state.started.keys() {
                let told = sut.engine.outcome_now(&named(*key)).await;
                let fortune = state.fortune(*key);
                match told {
                    None => {}
                    Some(SagaOutcome::Completed(_)) => assert_eq!(fortune, Some(Fortune::Completed)),
                    Some(SagaOutcome::RolledBack(failure)) => {
                        let step = failure.step.as_ref().map(saga_core::StepName::as_str);
                        assert!(
                            matches!(fortune, Some(Fortune::RolledBack(expected)) if Some(expected) == step),
                            "{key} failed at {step:?}, and not as {fortune:?}"
                        );
                    }
                    Some(SagaOutcome::NeedsAttention(letters)) => panic!("nobody should be called: {letters:?}"),
                }
            }
        });
    }

    /// Everything comes to its end, and the world holds what it should, once.
    fn teardown(mut sut: Self, state: Model) {
        let Self { runtime, engine } = &mut sut;
        runtime.block_on(async {
            engine.advance(Duration::from_secs(24 * 3_600)).await;
            let mut standing = 0;
            for key in state.started.keys() {
                let told = engine.outcome_now(&named(*key)).await;
                match state.fortune(*key) {
                    Some(Fortune::Waits) => assert!(told.is_none(), "{key} was not paid: {told:?}"),
                    Some(Fortune::Completed) => assert!(matches!(told, Some(SagaOutcome::Completed(_))), "{told:?}"),
                    Some(Fortune::RolledBack(_)) => {
                        assert!(matches!(told, Some(SagaOutcome::RolledBack(_))), "{told:?}");
                    }
                    None => {}
                }
                standing += match state.fortune(*key) {
                    Some(Fortune::Waits) => 2,
                    Some(Fortune::Completed) => 3,
                    Some(Fortune::RolledBack(_)) | None => 0,
                };
            }
            assert_eq!(engine.world().standing().len(), standing, "{}", engine.story().join("\n"));
        });
    }
}
