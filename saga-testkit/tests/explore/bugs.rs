//! Each seeded bug is caught, with the least that it takes and a story that shows it.

use insta::assert_snapshot;
use saga_core::{
    Compensation, Definition, Outcome, Probe, SagaOutcome, Step, StepContext, StepError, async_trait, step_fn,
};
use saga_testkit::random::Honest;
use saga_testkit::{Ending, ExploreError, Invariant, Scene, Violation, World, explore};

use super::shop::{honest, quick};

/// What is wrong with the middle step of a saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// The error of the compensation is ignored.
    SwallowsUndoError,
    /// Each attempt has a key of its own.
    KeyPerAttempt,
    /// A time-out is taken for a refusal.
    TimeOutIsRefusal,
    /// What has no output is not undone.
    UndoesOnlyWhatIsDone,
    /// The compensation looks for the effect under its own key.
    UndoesUnderItsOwnKey,
    /// The participant forgets what it undid, and nobody watches for what comes late.
    Forgets,
    /// The compensation works once, and refuses to be repeated.
    UndoWorksOnce,
}

#[derive(Clone)]
struct Buggy {
    honest: Honest,
    bug: Bug,
}

impl Buggy {
    fn world(&self) -> World {
        self.honest.world.clone()
    }
}

#[async_trait]
impl Step for Buggy {
    type Input = i64;
    type Output = i64;

    async fn run(&self, cx: &StepContext, n: i64) -> Result<i64, StepError> {
        let (world, what) = (self.world(), self.honest.what.clone());
        let key = match self.bug {
            Bug::KeyPerAttempt => format!("{}-{}", cx.key(), cx.attempt()),
            _ => cx.key().to_string(),
        };
        match self.world().call(&self.honest.what, move || world.apply(key, what)).await {
            Err(_) if self.bug == Bug::TimeOutIsRefusal => Err(StepError::rejected("no answer: let us call that no")),
            answer => Ok(answer.map(|_| n + 1)?),
        }
    }

    async fn probe(&self, cx: &StepContext, n: i64) -> Result<Probe<i64>, StepError> {
        match self.bug {
            Bug::UndoesOnlyWhatIsDone | Bug::Forgets => Ok(Probe::Unknown),
            _ => self.honest.probe(cx, n).await,
        }
    }
}

#[async_trait]
impl Compensation for Buggy {
    async fn compensate(&self, cx: &StepContext, n: i64, outcome: Outcome<i64>) -> Result<(), StepError> {
        let (world, key) = (self.world(), cx.step_key());
        match self.bug {
            Bug::SwallowsUndoError => {
                let _ = self.honest.compensate(cx, n, outcome).await;
                Ok(())
            }
            Bug::UndoesOnlyWhatIsDone if outcome == Outcome::Unknown => Ok(()),
            Bug::UndoesUnderItsOwnKey => {
                world.undo(cx.key());
                Ok(())
            }
            Bug::Forgets => {
                world.undo_and_forget(key);
                Ok(())
            }
            Bug::UndoWorksOnce if world.undo(key) => Ok(()),
            Bug::UndoWorksOnce => Err(StepError::rejected("there is nothing to undo")),
            Bug::KeyPerAttempt | Bug::TimeOutIsRefusal | Bug::UndoesOnlyWhatIsDone => {
                self.honest.compensate(cx, n, outcome).await
            }
        }
    }
}

fn with(world: &World, bug: Bug) -> Definition<i64, i64> {
    Definition::build("order", 1, |saga, n| {
        let hold = Buggy { honest: honest(world, "money held"), bug };
        let held = saga.compensatable("hold", hold, n).retry(quick()).compensation_retry(quick());
        let captured = saga.pivot("capture", honest(world, "money captured"), held).retry(quick());
        saga.returns(captured)
    })
    .unwrap()
}

fn caught(bug: Bug) -> Violation {
    let found = explore(async |world: World| Scene::new(with(&world, bug), 1)).run().unwrap_err();
    let violation = found.violation().unwrap_or_else(|| panic!("{bug:?}: {found}")).clone();
    let again = explore(async |world: World| Scene::new(with(&world, bug), 1)).replay(&violation.seed()).unwrap_err();
    assert_eq!(again.violation(), Some(&violation), "the seed tells the same story");
    violation
}

#[test]
fn an_ignored_error_of_a_compensation_leaves_its_effect_standing() {
    assert_snapshot!(caught(Bug::SwallowsUndoError));
}

#[test]
fn a_key_for_each_attempt_lets_things_happen_twice() {
    assert_snapshot!(caught(Bug::KeyPerAttempt));
}

#[test]
fn a_time_out_that_is_taken_for_a_refusal_loses_the_effect() {
    assert_snapshot!(caught(Bug::TimeOutIsRefusal));
}

#[test]
fn a_compensation_that_needs_the_output_forgets_what_is_unknown() {
    assert_snapshot!(caught(Bug::UndoesOnlyWhatIsDone));
}

#[test]
fn a_compensation_under_its_own_key_finds_nothing() {
    assert_eq!(caught(Bug::UndoesUnderItsOwnKey).seed(), "v1:run:hold#1=unknown-with-effect");
}

#[test]
fn a_participant_that_forgets_carries_out_what_comes_late() {
    assert_snapshot!(caught(Bug::Forgets));
}

#[test]
fn a_compensation_that_cannot_be_repeated_never_ends() {
    let violation = caught(Bug::UndoWorksOnce);
    assert_eq!(violation.invariant(), Invariant::NoLostSaga);
    assert_eq!(violation.seed(), "v1:run:hold#1=unknown-without-effect,probe:hold#1=unknown-without-effect");
}

#[test]
fn a_participant_that_forgets_is_no_harm_when_it_is_watched() {
    let scene = async |world: World| {
        let definition = Definition::build("order", 1, |saga, n| {
            let hold = Buggy { honest: honest(&world, "money held"), bug: Bug::Forgets };
            let hold = Watched(hold);
            let held = saga.compensatable("hold", hold, n).retry(quick());
            let held = held.watch_for_late_effects(std::time::Duration::from_secs(24 * 60 * 60));
            let captured = saga.pivot("capture", honest(&world, "money captured"), held).retry(quick());
            saga.returns(captured)
        });
        Scene::new(definition.unwrap(), 1)
    };
    explore(scene).run().unwrap();
}

/// Can be asked what it did.
struct Watched(Buggy);

#[async_trait]
impl Step for Watched {
    type Input = i64;
    type Output = i64;

    async fn run(&self, cx: &StepContext, n: i64) -> Result<i64, StepError> {
        self.0.run(cx, n).await
    }

    async fn probe(&self, cx: &StepContext, n: i64) -> Result<Probe<i64>, StepError> {
        let stands = self.0.world().find(cx.key()).is_some_and(|effect| effect.stands);
        Ok(if stands { Probe::Applied(n + 1) } else { Probe::Unknown })
    }
}

#[async_trait]
impl Compensation for Watched {
    async fn compensate(&self, cx: &StepContext, n: i64, outcome: Outcome<i64>) -> Result<(), StepError> {
        self.0.compensate(cx, n, outcome).await
    }
}

#[test]
fn a_query_that_has_an_effect_is_caught_without_anything_going_wrong() {
    let scene = async |world: World| {
        let definition = Definition::build("look", 1, |saga, n| {
            let looked = saga.query("look", honest(&world, "a note left behind"), n);
            saga.returns(looked)
        });
        Scene::new(definition.unwrap(), 1)
    };
    assert_snapshot!(explore(scene).run().unwrap_err());
}

#[test]
fn what_depends_on_chance_is_told() {
    let calls = std::sync::atomic::AtomicU32::new(0);
    let scene = async |world: World| {
        let nth = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let what = if nth.is_multiple_of(2) { "even" } else { "odd" };
        let definition = Definition::build("chance", 1, |saga, n| {
            let done = saga.compensatable("do", honest(&world, what), n);
            saga.returns(done)
        });
        Scene::new(definition.unwrap(), 1)
    };
    let found = explore(scene).run().unwrap_err();
    assert_eq!(found.violation().unwrap().invariant(), Invariant::Deterministic, "{found}");
}

#[test]
fn the_tests_own_invariant_is_checked_and_may_panic() {
    let check = async |end: &Ending<'_, (), i64>| match end.outcome {
        SagaOutcome::RolledBack(_) => Err("we never turn back".to_owned()),
        _ => Ok(()),
    };
    let found = explore(super::shop::scene).check(check).run().unwrap_err();
    let violation = found.violation().unwrap();
    assert_eq!((violation.invariant(), violation.found()), (Invariant::Own, "we never turn back"));
    assert_eq!(violation.seed(), "v1:run:reserve#1=refused");
    let check = async |end: &Ending<'_, (), i64>| {
        assert!(end.is_completed(), "it is said that sagas complete");
        Ok(())
    };
    let found = explore(super::shop::scene).check(check).run().unwrap_err();
    assert_eq!(found.violation().unwrap().found(), "it is said that sagas complete");
}

#[test]
fn a_step_that_no_run_comes_to_fails_the_exploration() {
    let scene = async |world: World| {
        let definition = Definition::build("gift", 1, |saga, n| {
            let noted = saga.compensatable("note", honest(&world, "noted"), n);
            let dear = saga_core::Source::map(noted, |n: i64| n > 100);
            let wrap = honest(&world, "wrapped");
            let wrapped = saga.when("is-dear", dear, |saga| saga.compensatable("wrap", wrap, noted));
            saga.returns(wrapped)
        });
        Scene::new(definition.unwrap(), 1)
    };
    let found = explore(scene).run().unwrap_err();
    assert_eq!(found, ExploreError::Unreached { what: vec!["undo of wrap".to_owned(), "wrap".to_owned()] });
    let excused = explore(scene).unreached("wrap", "1 is not dear").unreached("undo of wrap", "it is never wrapped");
    excused.run().unwrap();
    let wrongly = explore(scene).unreached("note", "so they say").run().unwrap_err();
    assert_eq!(wrongly, ExploreError::WronglyExcused { what: vec!["note".to_owned()] });
}

/// Fakes that write into a world of their own are seen by nobody: whatever is wrong with them, all is well.
#[test]
fn a_scene_in_which_nothing_happens_proves_nothing() {
    let scene = async |_: World| Scene::new(with(&World::new(), Bug::UndoesUnderItsOwnKey), 1);
    let found = explore(scene).run().unwrap_err();
    assert_eq!(found, ExploreError::NothingHappened);
    assert!(found.to_string().contains("the `World` that the scene is given"), "{found}");
    explore(scene).effects_elsewhere("in a world of their own").run().unwrap();
    let pure = async |_: World| {
        let definition = Definition::build("pure", 1, |saga, n| {
            let look = saga.query("look", step_fn(async |_, n: i64| Ok(n)), n);
            saga.returns(look)
        });
        Scene::new(definition.unwrap(), 1)
    };
    assert_eq!(explore(pure).run().unwrap().effects, 0);
}

#[test]
fn a_signal_that_nobody_sends_is_a_saga_without_end() {
    let scene = async |_: World| {
        let definition = Definition::build("waits", 1, |saga, n| {
            let look = saga.query("look", step_fn(async |_, n: i64| Ok(n)), n);
            let paid = saga.wait_for::<i64, _>("paid", "paid", saga_core::Source::map(look, |_| None));
            saga.returns(paid)
        });
        Scene::new(definition.unwrap(), 1)
    };
    let found = explore(scene).run().unwrap_err();
    let violation = found.violation().unwrap();
    assert_eq!(violation.invariant(), Invariant::NoLostSaga);
    assert!(violation.found().contains("is there a `Scene::signal`"), "{violation}");
}
