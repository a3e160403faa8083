//! What `build` refuses, and that it refuses nothing else.

use std::time::Duration;

use proptest::prelude::*;
use saga_core::definition::{Policy, StepPlan};
use saga_core::{
    BuildError, Definition, InputHandle, Kind, Outcome, Plan, RetryPolicy, SagaBuilder, Source as _, StepHandle,
    step_fn,
};

type Number<'id, K> = StepHandle<'id, i64, K>;

fn query<'id>(saga: &SagaBuilder<'id>, name: &str, n: InputHandle<'id, i64>) {
    saga.query(name, step_fn(async |_, n: i64| Ok(n)), n);
}

fn undoable<'id>(
    saga: &SagaBuilder<'id>,
    name: &str,
    n: InputHandle<'id, i64>,
) -> Number<'id, saga_core::definition::Compensatable> {
    let step = step_fn(async |_, n: i64| Ok(n)).compensate(async |_, _, _: Outcome<i64>| Ok(()));
    saga.compensatable(name, step, n)
}

fn pivot<'id>(saga: &SagaBuilder<'id>, name: &str, n: InputHandle<'id, i64>) {
    saga.pivot(name, step_fn(async |_, n: i64| Ok(n)), n);
}

fn retryable<'id>(saga: &SagaBuilder<'id>, name: &str, n: InputHandle<'id, i64>) {
    saga.retryable(name, step_fn(async |_, n: i64| Ok(n)), n);
}

fn refusal(declare: impl for<'id> FnOnce(&SagaBuilder<'id>, InputHandle<'id, i64>)) -> BuildError {
    let built = Definition::build("refused", 1, |saga, n| {
        declare(saga, n);
        saga.returns(())
    });
    built.unwrap_err()
}

#[test]
fn a_saga_without_steps_is_refused() {
    assert_eq!(refusal(|_, _| ()), BuildError::Empty);
}

#[test]
fn names_and_versions_must_be_usable() {
    let nothing = |name: &str, version| {
        Definition::build(name, version, |saga, n: InputHandle<'_, i64>| {
            query(saga, "a", n);
            saga.returns(())
        })
        .map(drop)
    };
    assert!(nothing("fine", 1).is_ok());
    assert!(matches!(nothing("", 1), Err(BuildError::BadName { .. })));
    assert!(matches!(nothing("a\nb", 1), Err(BuildError::BadName { .. })));
    assert_eq!(nothing("fine", 0), Err(BuildError::BadVersion));
    assert!(matches!(refusal(|saga, n| query(saga, "", n)), BuildError::BadName { .. }));
    assert!(matches!(refusal(|saga, n| query(saga, &"x".repeat(101), n)), BuildError::BadName { .. }));
}

#[test]
fn two_steps_of_one_name_are_refused() {
    let refused = refusal(|saga, n| {
        query(saga, "same", n);
        query(saga, "same", n);
    });
    assert_eq!(refused, BuildError::DuplicateName { step: "same".into() });
}

#[test]
fn two_pivots_are_refused() {
    let refused = refusal(|saga, n| {
        pivot(saga, "first", n);
        pivot(saga, "second", n);
    });
    assert_eq!(refused, BuildError::TwoPivots { first: "first".into(), second: "second".into() });
}

#[test]
fn a_pivot_beside_another_step_is_refused() {
    let refused = refusal(|saga, n| {
        saga.parallel(|group| {
            group.branch(|saga| pivot(saga, "p", n));
            group.branch(|saga| query(saga, "q", n));
        });
    });
    assert_eq!(refused, BuildError::PivotInParallel { pivot: "p".into(), beside: "q".into() });
}

#[test]
fn a_compensatable_step_after_the_pivot_is_refused() {
    let refused = refusal(|saga, n| {
        pivot(saga, "p", n);
        undoable(saga, "c", n);
    });
    assert_eq!(refused, BuildError::CompensatableAfterPivot { step: "c".into(), pivot: "p".into() });
}

#[test]
fn what_can_never_be_undone_must_come_last() {
    let after = refusal(|saga, n| {
        retryable(saga, "r", n);
        undoable(saga, "c", n);
    });
    assert_eq!(after, BuildError::CompensatableAfterRetryable { step: "c".into(), retryable: "r".into() });
    let before = refusal(|saga, n| {
        retryable(saga, "r", n);
        pivot(saga, "p", n);
    });
    assert_eq!(before, BuildError::RetryableBeforePivot { step: "r".into(), pivot: "p".into() });
}

#[test]
fn a_step_cannot_read_what_another_branch_may_not_have_done() {
    let refused = refusal(|saga, n| {
        saga.parallel(|group| {
            let c = group.branch(|saga| undoable(saga, "c", n));
            group.branch(|saga| saga.query("q", step_fn(async |_, n: i64| Ok(n)), c));
        });
    });
    assert_eq!(refused, BuildError::ReadsOtherBranch { step: "q".into(), reads: "c".into() });
}

#[test]
fn what_is_under_a_condition_is_read_there_or_as_an_option() {
    let step = || step_fn(async |_, n: i64| Ok(n));
    let build = |leak: bool| {
        Definition::build("guarded", 1, |saga, n| {
            let mut leaked = None;
            let seen = saga.when("positive", n.map(|n: i64| n > 0), |saga| {
                let inner = saga.query("inner", step(), n);
                leaked = Some(inner);
                saga.query("also-inner", step(), inner)
            });
            let outside = step_fn(async |_, n: Option<i64>| Ok(n.unwrap_or(0)));
            let outside = saga.query("outside", outside, seen);
            if leak {
                let _ = saga.query("leak", step(), leaked.unwrap());
            }
            saga.returns(outside)
        })
    };
    build(false).unwrap();
    let refused = build(true).unwrap_err();
    assert_eq!(refused, BuildError::ReadsGuarded { reader: "leak".to_owned(), reads: "inner".into() });
}

fn policy() -> Policy {
    Policy::new(RetryPolicy::never(), Duration::from_secs(1))
}

proptest! {
    /// The grammar once more, in other words: along a sequence, compensatable steps, then at most one
    /// pivot, then retryable steps; queries and best effort anywhere.
    #[test]
    fn a_sequence_is_accepted_if_and_only_if_it_matches_the_grammar(kinds in prop::collection::vec(0_usize..11, 1..8)) {
        const KINDS: [Kind; 11] = [
            Kind::Query,
            Kind::Compensatable,
            Kind::Pivot,
            Kind::Retryable,
            Kind::BestEffort,
            Kind::When,
            Kind::Sleep,
            Kind::Signal,
            Kind::Publish,
            Kind::Lock,
            Kind::Child,
        ];
        let kinds: Vec<Kind> = kinds.into_iter().map(|nth| KINDS[nth]).collect();
        let letters: String = kinds
            .iter()
            .filter_map(|kind| match kind {
                Kind::Compensatable | Kind::Child => Some('c'),
                Kind::Pivot => Some('p'),
                Kind::Retryable => Some('r'),
                Kind::Query
                | Kind::BestEffort
                | Kind::When
                | Kind::Sleep
                | Kind::Signal
                | Kind::Publish
                | Kind::Lock => None,
            })
            .collect();
        let rest = letters.trim_start_matches('c');
        let rest = rest.strip_prefix('p').unwrap_or(rest);
        let locks = kinds.iter().filter(|kind| **kind == Kind::Lock).count();
        let matches = rest.chars().all(|letter| letter == 'r') && locks <= 1;
        let steps = kinds.iter().enumerate().map(|(nth, kind)| StepPlan {
            compensate: matches!(kind, Kind::Compensatable | Kind::Child).then(policy),
            ..StepPlan::new(format!("s{nth}").as_str(), *kind, nth.checked_sub(1).into_iter().collect(), policy())
        });
        prop_assert_eq!(Plan::new(steps.collect(), Vec::new()).is_ok(), matches);
    }
}
