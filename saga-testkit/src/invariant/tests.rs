//! The checker itself, on histories that are wrong by hand: one at least for each invariant.

#![allow(clippy::unwrap_used, reason = "tests")]

use saga_core::definition::{Kind, Policy, StepPlan};
use saga_core::engine::HistoryTurn;
use saga_core::journal::{End, LockEntry, SagaHeader, SagaStatus, SagaSummary};
use saga_core::machine::{AttentionReason, Record};
use saga_core::{Class, Digest, Effect as Happened, Epoch, Fault, Op, Payload, Plan, RetryPolicy, SagaId, Timestamp};

use super::{Invariant, Told, View, check};
use crate::sim::{Cast, Effect};

const NOW: Timestamp = Timestamp::from_micros(1);

/// a and b are undone, c is the pivot, d publishes.
fn cast() -> Cast {
    let policy = || Policy::new(RetryPolicy::standard(), std::time::Duration::from_secs(1));
    let step = |name: &str, kind, after: &[usize]| StepPlan::new(name, kind, after.to_vec(), policy());
    let undone = |step: StepPlan| StepPlan { compensate: Some(policy()), ..step };
    let steps = vec![
        undone(step("a", Kind::Compensatable, &[])),
        undone(step("b", Kind::Compensatable, &[0])),
        step("c", Kind::Pivot, &[1]),
        step("d", Kind::Publish, &[2]),
    ];
    Cast { definition: "order".to_owned(), plan: Plan::new(steps, Vec::new()).unwrap() }
}

fn started() -> Record {
    Record::Started { input: Payload::null(), parent: None }
}

fn begun(step: &str, op: Op, attempt: u32) -> Record {
    Record::Begun { step: step.into(), op, attempt, generation: 0, at: None, input: Digest::of_text("x") }
}

fn done(step: &str) -> Record {
    Record::Done { step: step.into(), output: Payload::null() }
}

fn failed(step: &str, op: Op, effect: Happened) -> Record {
    let fault = Fault { class: Class::Terminal, effect, message: String::new() };
    Record::Failed { step: step.into(), op, fault, retry_at: None }
}

fn back(step: &str) -> Record {
    Record::TurnedBack { step: Some(step.into()) }
}

fn undone(step: &str) -> Record {
    Record::Compensated { step: step.into(), watch_at: None }
}

/// a is done; b was refused.
fn refused() -> Vec<Record> {
    let refused = failed("b", Op::Run, Happened::NotApplied);
    vec![started(), begun("a", Op::Run, 1), done("a"), begun("b", Op::Run, 1), refused, back("b")]
}

fn rolled_back() -> Vec<Record> {
    [refused(), vec![begun("a", Op::Compensate, 1), undone("a"), Record::RolledBack]].concat()
}

fn told(records: Vec<Record>, status: SagaStatus) -> Told {
    let (definition, key) = ("order".to_owned(), "k".to_owned());
    let input = Digest::of_text("null");
    let header = SagaHeader { id: SagaId::new(), definition, version: 1, key, input, created_at: NOW };
    let turns = vec![HistoryTurn { at: NOW, epoch: Some(Epoch(2)), records }];
    Told { summary: SagaSummary { header, status }, turns }
}

fn effect(step: &str, key: &str) -> Effect {
    Effect { key: key.to_owned(), what: "it".to_owned(), saga: None, step: Some(step.to_owned()), stands: true }
}

const ROLLED_BACK: SagaStatus = SagaStatus::Ended(End::RolledBack);

/// All over, and nothing but these sagas.
fn plain<'a>(cast: &'a Cast, sagas: &'a [Told]) -> View<'a> {
    View {
        cast,
        sagas,
        letters: &[],
        effects: &[],
        locks: &[],
        published: &[],
        signalled: &[],
        alone: true,
        over: true,
    }
}

/// Which invariant the saga breaks, in a view that `change` makes.
fn broken(told: Told, change: impl FnOnce(&mut View<'_>)) -> Option<(Invariant, String)> {
    let (cast, sagas) = (cast(), [told]);
    let mut view = plain(&cast, &sagas);
    change(&mut view);
    check(&view).map(|problem| (problem.invariant, problem.found))
}

fn breaks(records: Vec<Record>) -> Option<(Invariant, String)> {
    broken(told(records, SagaStatus::Running), |_| ())
}

#[test]
fn a_sound_history_breaks_nothing() {
    assert_eq!(broken(told(rolled_back(), ROLLED_BACK), |_| ()), None);
}

#[test]
fn a_history_that_the_machine_cannot_make_is_told() {
    let (invariant, _) = breaks(vec![started(), done("b")]).unwrap();
    assert_eq!(invariant, Invariant::History);
}

#[test]
fn a_late_append_of_a_gone_worker_is_told() {
    let mut saga = told(rolled_back(), ROLLED_BACK);
    let late = HistoryTurn { at: NOW, epoch: Some(Epoch(1)), records: Vec::new() };
    saga.turns.push(late);
    assert_eq!(broken(saga, |_| ()).unwrap().0, Invariant::History);
}

/// What the machine itself would refuse is put before the single check, beside the machine.
fn alone(check: super::Check, records: Vec<Record>) -> Option<(Invariant, String)> {
    let (cast, sagas) = (cast(), [told(records, SagaStatus::Running)]);
    check(&plain(&cast, &sagas)).err().map(|problem| (problem.invariant, problem.found))
}

#[test]
fn a_step_after_turning_back_is_told() {
    let found = alone(super::direction::check, [refused(), vec![begun("b", Op::Run, 2)]].concat());
    assert_eq!(found.unwrap(), (Invariant::Direction, "b begins after the saga has turned back".to_owned()));
}

#[test]
fn turning_back_after_the_pivot_is_told() {
    let found = alone(super::direction::check, vec![started(), begun("c", Op::Run, 1), done("c"), back("c")]);
    assert_eq!(found.unwrap().1, "the saga turns back after its pivot is done");
}

#[test]
fn undoing_before_turning_back_or_beside_a_running_step_is_told() {
    let early = vec![started(), begun("a", Op::Run, 1), done("a"), begun("a", Op::Compensate, 1)];
    assert_eq!(alone(super::direction::check, early).unwrap().1, "a is undone before the saga has turned back");
    let beside =
        vec![begun("a", Op::Run, 1), done("a"), begun("b", Op::Run, 1), back("b"), begun("a", Op::Compensate, 1)];
    assert_eq!(alone(super::direction::check, beside).unwrap().1, "a is undone while b is still under way");
}

#[test]
fn undoing_in_the_wrong_order_is_told() {
    let both = [begun("a", Op::Run, 1), done("a"), begun("b", Op::Run, 1), done("b"), back("c")];
    let found = alone(super::order::check, [both.to_vec(), vec![begun("a", Op::Compensate, 1)]].concat());
    assert_eq!(found.unwrap(), (Invariant::ReverseOrder, "a is undone before b, which came after it".to_owned()));
}

#[test]
fn what_may_have_happened_and_is_not_undone_is_told() {
    let unknown = failed("b", Op::Run, Happened::Unknown);
    let records = [
        vec![started(), begun("a", Op::Run, 1), done("a"), begun("b", Op::Run, 1), unknown, back("b")],
        vec![begun("a", Op::Compensate, 1), undone("a"), Record::RolledBack],
    ];
    let found = alone(super::owed::check, records.concat());
    assert_eq!(found.unwrap(), (Invariant::Undone, "the saga is rolled back, and b was never undone".to_owned()));
}

#[test]
fn undoing_what_never_was_is_told() {
    let found = alone(super::owed::check, [refused(), vec![begun("b", Op::Compensate, 1)]].concat());
    assert_eq!(found.unwrap().1, "b is undone, and nothing of it can have happened");
}

#[test]
fn another_input_and_an_unproven_key_are_told() {
    let again = |input: &str, generation| Record::Begun {
        step: "a".into(),
        op: Op::Run,
        attempt: 2,
        generation,
        at: None,
        input: Digest::of_text(input),
    };
    let found = alone(super::keys::check, vec![begun("a", Op::Run, 1), again("y", 0)]);
    assert_eq!(found.unwrap(), (Invariant::Keys, "a is given another input under the same key".to_owned()));
    let lost = failed("a", Op::Run, Happened::Unknown);
    let found = alone(super::keys::check, vec![begun("a", Op::Run, 1), lost, again("x", 1)]);
    assert_eq!(found.unwrap().1, "a has a new key while the old one may have done it");
    let refused = failed("a", Op::Run, Happened::NotApplied);
    assert_eq!(alone(super::keys::check, vec![begun("a", Op::Run, 1), refused, again("x", 1)]), None);
}

#[test]
fn a_human_who_is_needed_and_not_told_is_told() {
    let given_up =
        || [refused(), vec![begun("a", Op::Compensate, 1), failed("a", Op::Compensate, Happened::Unknown)]].concat();
    let found = broken(told(given_up(), SagaStatus::Waiting), |_| ()).unwrap();
    assert_eq!(found, (Invariant::DeadLetters, "compensate of a has failed for good, and nobody was told".to_owned()));
    let found = broken(told(given_up(), SagaStatus::NeedsAttention), |_| ()).unwrap();
    assert_eq!(found.1, "the saga waits for a human, and no dead letter tells");
    let attention = Record::NeedsAttention {
        step: Some("a".into()),
        op: Op::Compensate,
        reason: AttentionReason::Failed,
        error: String::new(),
    };
    let found = broken(told([given_up(), vec![attention]].concat(), SagaStatus::Waiting), |_| ()).unwrap();
    assert_eq!(found.1, "compensate of a: the letter and the history disagree");
}

#[test]
fn what_is_left_and_what_happened_twice_is_told() {
    let found = broken(told(rolled_back(), ROLLED_BACK), |view| view.effects = Box::leak(Box::new([effect("a", "1")])));
    let left = "the saga is rolled back, and this still stands: it".to_owned();
    assert_eq!(found.unwrap(), (Invariant::AllOrNothing, left));
    let twice = [effect("a", "1"), effect("a", "2")];
    let found = broken(told(rolled_back(), ROLLED_BACK), |view| view.effects = Box::leak(Box::new(twice)));
    assert_eq!(found.unwrap().1, "a happened 2 times: it, under 2 keys");
    // What nobody can be blamed for is the test's own business.
    let somebodys = Effect { step: None, ..effect("a", "1") };
    let found = broken(told(rolled_back(), ROLLED_BACK), |view| view.effects = Box::leak(Box::new([somebodys])));
    assert_eq!(found, None);
}

#[test]
fn what_was_completed_and_does_not_stand_is_told() {
    let all = |step: &str| vec![begun(step, Op::Run, 1), done(step)];
    let records = [vec![started()], all("a"), all("b"), all("c"), vec![done("d"), Record::Completed]].concat();
    let saga = || told(records.clone(), SagaStatus::Ended(End::Completed));
    let (first, second) = (saga(), saga());
    let (id, other) = (first.summary.header.id, second.summary.header.id);
    let gone = Effect { stands: false, ..effect("a", "1") };
    let found = broken(first, |view| {
        view.published = Box::leak(Box::new([(id, "e-1".to_owned())]));
        view.effects = Box::leak(Box::new([gone]));
    });
    assert_eq!(found.unwrap().1, "the saga is completed, and this does not stand: it");
    let found = broken(second, |view| view.published = Box::leak(Box::new([(SagaId::new(), "e-1".to_owned())])));
    assert_eq!(found.unwrap(), (Invariant::Events, "1 events were committed, and 0 were published".to_owned()));
    assert_ne!(id, other);
}

#[test]
fn a_lock_that_outlives_its_saga_is_told() {
    let saga = told(rolled_back(), ROLLED_BACK);
    let entry = LockEntry { key: "cart".to_owned(), saga: saga.summary.header.id, token: Some(1), asked_at: NOW };
    let found = broken(saga, |view| view.locks = Box::leak(Box::new([entry])));
    assert_eq!(found.unwrap(), (Invariant::Locks, "cart is still locked by a saga that is over".to_owned()));
}

#[test]
fn a_signal_that_is_lost_or_doubled_is_told() {
    let signal = || Record::Signalled { name: "paid".to_owned(), payload: Payload::null(), id: "m".to_owned() };
    for (signals, times) in [(vec![], 0), (vec![signal(), signal()], 2)] {
        let records = [rolled_back(), signals].concat();
        let (cast, sagas) = (cast(), [told(records, ROLLED_BACK)]);
        let signalled = ["m".to_owned()];
        let view = View { signalled: &signalled, ..plain(&cast, &sagas) };
        let found = super::signals::check(&view).unwrap_err();
        assert_eq!(found.found, format!("m was accepted, and was taken in {times} times"));
    }
}
