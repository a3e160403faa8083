//! Histories made by hand: a good one, and one for each way in which it can be bad.

use std::collections::BTreeMap;
use std::time::Duration;

use saga_core::definition::{Plan, Policy, StepPlan};
use saga_core::engine::HistoryTurn;
use saga_core::journal::{DeadLetter, End, LockEntry, SagaHeader, SagaStatus};
use saga_core::machine::{AttentionReason, Halt, Record, Resolution};
use saga_core::verify::{Evidence, Holding, Invariant, holdings, locks, saga};
use saga_core::{
    Checkpoint as _, Class, Digest, Effect, Epoch, Fault, Kind, Locks, Op, Payload, RetryPolicy, SagaId, StepName,
    Timestamp,
};

fn policy() -> Policy {
    Policy::new(RetryPolicy::fixed(Duration::from_millis(1)), Duration::from_secs(1))
}

/// Locks, two steps that can be undone, the second after the first, and a pivot.
fn plan() -> Plan {
    let mut steps = vec![
        StepPlan::new("lock", Kind::Lock, vec![], policy()),
        StepPlan::new("hold", Kind::Compensatable, vec![0], policy()),
        StepPlan::new("order", Kind::Compensatable, vec![1], policy()),
        StepPlan::new("capture", Kind::Pivot, vec![2], policy()),
    ];
    steps[1].compensate = Some(policy());
    steps[2].compensate = Some(policy());
    Plan::new(steps, vec![]).unwrap()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_micros(1_000_000 + millis * 1_000)
}

fn turn(nth: i64, records: Vec<Record>) -> HistoryTurn {
    HistoryTurn { at: at(nth * 10), epoch: Some(Epoch(7)), records }
}

fn begun(step: &str, op: Op, attempt: u32) -> Record {
    let input = Digest::of_text(step);
    Record::Begun { step: step.into(), op, attempt, generation: 0, at: None, input }
}

fn done(step: &str) -> Record {
    Record::Done { step: step.into(), output: Payload::null() }
}

fn failed(step: &str, op: Op, effect: Effect, retry_at: Option<Timestamp>) -> Record {
    let fault = Fault { class: Class::Transient, effect, message: "no".to_owned() };
    Record::Failed { step: step.into(), op, fault, retry_at }
}

fn locked() -> Record {
    let tokens = Locks::from(BTreeMap::from([("cart".to_owned(), 5)]));
    Record::Done { step: "lock".into(), output: tokens.encode().unwrap() }
}

fn started() -> Vec<HistoryTurn> {
    let locking = Record::Locking { step: "lock".into(), keys: vec!["cart".to_owned()], until: at(10_000) };
    vec![
        turn(0, vec![Record::Started { input: Payload::null(), parent: None }, locking]),
        turn(1, vec![locked(), begun("hold", Op::Run, 1)]),
        turn(2, vec![done("hold"), begun("order", Op::Run, 1)]),
        turn(3, vec![done("order"), begun("capture", Op::Run, 1)]),
    ]
}

/// A saga that completed.
fn completed() -> Vec<HistoryTurn> {
    let mut turns = started();
    turns.push(turn(4, vec![done("capture"), Record::Completed]));
    turns
}

/// A saga that was declined, and rolled back.
fn rolled_back() -> Vec<HistoryTurn> {
    let mut turns = started();
    let declined = failed("capture", Op::Run, Effect::NotApplied, None);
    let back = Record::TurnedBack { step: Some("capture".into()) };
    turns.push(turn(4, vec![declined, back, begun("order", Op::Compensate, 1)]));
    turns.push(turn(5, vec![undone("order"), begun("hold", Op::Compensate, 1)]));
    turns.push(turn(6, vec![undone("hold"), Record::RolledBack]));
    turns
}

fn undone(step: &str) -> Record {
    Record::Compensated { step: step.into(), watch_at: None }
}

struct Case {
    header: SagaHeader,
    turns: Vec<HistoryTurn>,
    status: SagaStatus,
    letters: Vec<DeadLetter>,
}

impl Case {
    fn new(turns: Vec<HistoryTurn>, status: SagaStatus) -> Self {
        let header = SagaHeader {
            id: SagaId::new(),
            definition: "order".to_owned(),
            version: 1,
            key: "k".to_owned(),
            input: Digest::of_text(""),
            created_at: at(0),
        };
        Self { header, turns, status, letters: Vec::new() }
    }

    fn found(&self) -> Vec<(Invariant, Option<StepName>)> {
        let plan = plan();
        let evidence = self.evidence(&plan);
        let found = saga(&evidence);
        assert!(found.iter().all(|violation| violation.saga == Some(self.header.id)), "{found:?}");
        found.into_iter().map(|violation| (violation.invariant, violation.step)).collect()
    }

    fn evidence<'a>(&'a self, plan: &'a Plan) -> Evidence<'a> {
        let (header, status) = (&self.header, Some(self.status));
        Evidence { header, plan, turns: &self.turns, status, letters: Some(&self.letters) }
    }

    fn finds(&self, invariant: Invariant, step: &str) {
        let step = (!step.is_empty()).then(|| StepName::from(step));
        let found = self.found();
        assert!(found.contains(&(invariant, step.clone())), "{invariant} {step:?} is not among {found:?}");
    }
}

const COMPLETED: SagaStatus = SagaStatus::Ended(End::Completed);
const ROLLED_BACK: SagaStatus = SagaStatus::Ended(End::RolledBack);

#[test]
fn good_histories_have_no_findings() {
    assert_eq!(Case::new(completed(), COMPLETED).found(), []);
    assert_eq!(Case::new(rolled_back(), ROLLED_BACK).found(), []);
    assert_eq!(Case::new(started(), SagaStatus::Running).found(), []);
}

#[test]
fn i2_a_completed_saga_left_nothing_out() {
    let mut turns = started();
    turns.push(turn(4, vec![Record::Completed]));
    Case::new(turns, COMPLETED).finds(Invariant::NetEffect, "capture");
}

#[test]
fn i2_a_pivot_that_may_be_applied_is_not_rolled_back() {
    let mut turns = rolled_back();
    turns[4].records[0] = failed("capture", Op::Run, Effect::Unknown, None);
    Case::new(turns, ROLLED_BACK).finds(Invariant::NetEffect, "capture");
}

#[test]
fn i3_a_new_key_needs_proof() {
    let mut turns = started();
    turns[2].records.pop();
    turns[2].records[0] = failed("hold", Op::Run, Effect::Unknown, Some(at(20)));
    let input = Digest::of_text("hold");
    let again = Record::Begun { step: "hold".into(), op: Op::Run, attempt: 2, generation: 1, at: None, input };
    turns[3].records = vec![again];
    Case::new(turns, SagaStatus::Running).finds(Invariant::Keys, "hold");
}

#[test]
fn i3_a_key_has_one_input() {
    let mut turns = started();
    turns[2].records = vec![failed("hold", Op::Run, Effect::Unknown, Some(at(20)))];
    let input = Digest::of_text("another");
    turns[3].records =
        vec![Record::Begun { step: "hold".into(), op: Op::Run, attempt: 2, generation: 0, at: None, input }];
    Case::new(turns, SagaStatus::Running).finds(Invariant::Keys, "hold");
}

#[test]
fn i4_nothing_forward_begins_on_the_way_back() {
    let mut turns = rolled_back();
    turns[5].records.insert(1, begun("capture", Op::Run, 2));
    Case::new(turns, ROLLED_BACK).finds(Invariant::Direction, "capture");
}

#[test]
fn i4_no_saga_turns_back_past_its_pivot() {
    let mut turns = completed();
    turns[4].records[1] = Record::TurnedBack { step: Some("order".into()) };
    Case::new(turns, SagaStatus::Running).finds(Invariant::Direction, "order");
}

#[test]
fn i5_what_depends_on_a_step_is_undone_first() {
    let mut turns = rolled_back();
    turns[4].records[2] = begun("hold", Op::Compensate, 1);
    turns[5].records = vec![undone("hold"), begun("order", Op::Compensate, 1)];
    turns[6].records[0] = undone("order");
    Case::new(turns, ROLLED_BACK).finds(Invariant::UndoOrder, "hold");
}

#[test]
fn i6_what_was_started_is_undone() {
    let mut turns = rolled_back();
    turns[5].records.pop();
    turns[6].records.remove(0);
    Case::new(turns, ROLLED_BACK).finds(Invariant::UndoSet, "hold");
}

#[test]
fn i6_what_was_never_started_is_not_undone() {
    let mut turns = rolled_back();
    turns[3].records = vec![failed("order", Op::Run, Effect::NotApplied, None)];
    turns[2].records.pop();
    Case::new(turns, ROLLED_BACK).finds(Invariant::UndoSet, "order");
}

#[test]
fn i7_moves_are_legal_and_the_row_agrees() {
    let mut turns = completed();
    turns[2].records.insert(1, done("hold"));
    Case::new(turns, COMPLETED).finds(Invariant::Automaton, "hold");
    Case::new(completed(), SagaStatus::Waiting).finds(Invariant::Automaton, "");
    Case::new(completed(), ROLLED_BACK).finds(Invariant::Automaton, "");
    Case::new(started(), COMPLETED).finds(Invariant::Automaton, "");
    Case::new(Vec::new(), SagaStatus::Waiting).finds(Invariant::Automaton, "");
}

#[test]
fn i8_no_turn_has_a_stale_epoch() {
    let mut turns = completed();
    let interrupted = Record::Interrupted { step: "hold".into(), op: Op::Run, crashed: true, retry_at: Some(at(20)) };
    turns.insert(2, HistoryTurn { epoch: Some(Epoch(6)), ..turn(2, vec![interrupted, begun("hold", Op::Run, 2)]) });
    Case::new(turns.clone(), COMPLETED).finds(Invariant::Fencing, "");
    // A worker whose lease is older may take over, and go on.
    turns[3..].iter_mut().for_each(|turn| turn.epoch = Some(Epoch(6)));
    assert_eq!(Case::new(turns, COMPLETED).found(), []);
    let mut turns = completed();
    turns[2].epoch = None;
    Case::new(turns, COMPLETED).finds(Invariant::Fencing, "");
}

#[test]
fn i11_nothing_goes_on_before_its_time() {
    let mut turns = started();
    turns[2].records = vec![failed("hold", Op::Run, Effect::Unknown, Some(at(500)))];
    turns[3].records = vec![begun("hold", Op::Run, 2)];
    Case::new(turns, SagaStatus::Running).finds(Invariant::Timers, "hold");
}

#[test]
fn i12_a_signal_is_taken_in_once() {
    let mut turns = started();
    let signalled = Record::Signalled { name: "paid".to_owned(), payload: Payload::null(), id: "evt-1".to_owned() };
    turns[1].records.push(signalled.clone());
    turns[2].records.push(signalled);
    Case::new(turns, SagaStatus::Running).finds(Invariant::Signals, "");
}

fn letter(case: &Case, step: &str) -> DeadLetter {
    DeadLetter {
        saga: case.header.id,
        definition: "order".to_owned(),
        key: "k".to_owned(),
        step: Some(step.into()),
        op: Op::Compensate,
        reason: AttentionReason::Failed,
        error: "no".to_owned(),
        attempts: 1,
        seq: 5,
        opened_at: at(50),
    }
}

#[test]
fn i14_what_waits_for_a_human_has_one_open_dead_letter() {
    let mut turns = rolled_back();
    turns.pop();
    let reason = AttentionReason::Failed;
    let call = Record::NeedsAttention { step: Some("order".into()), op: Op::Compensate, reason, error: String::new() };
    turns[5].records = vec![failed("order", Op::Compensate, Effect::Unknown, None), call];
    let mut case = Case::new(turns, SagaStatus::NeedsAttention);
    case.finds(Invariant::DeadLetters, "order");
    case.letters = vec![letter(&case, "order")];
    assert_eq!(case.found(), []);
    case.letters.push(letter(&case, "order"));
    case.finds(Invariant::DeadLetters, "order");
    let mut case = Case::new(completed(), COMPLETED);
    case.letters = vec![letter(&case, "hold")];
    case.finds(Invariant::DeadLetters, "hold");
}

#[test]
fn i19_decisions_have_an_actor_and_a_reason() {
    let mut turns = started();
    let cause = Halt::Cancelled { actor: String::new(), reason: "enough".to_owned() };
    turns[3].records.push(Record::Halted { cause });
    Case::new(turns, SagaStatus::Running).finds(Invariant::Audit, "");
    let mut turns = started();
    let (step, op, resolution) = (Some(StepName::from("order")), Op::Run, Resolution::Retry);
    turns[3].records = vec![Record::Resolved { step, op, resolution, actor: "ann".to_owned(), reason: " ".to_owned() }];
    Case::new(turns, SagaStatus::Running).finds(Invariant::Audit, "order");
}

fn entry(saga: SagaId, token: Option<u64>) -> LockEntry {
    LockEntry { key: "cart".to_owned(), saga, token, asked_at: at(0) }
}

#[test]
fn i9_an_entity_has_one_holder_with_growing_tokens() {
    let (plan, case) = (plan(), Case::new(completed(), COMPLETED));
    let held = holdings(&case.evidence(&plan));
    assert_eq!(held.len(), 1);
    assert_eq!((held[0].token, held[0].until), (5, Some(at(40))));
    let mut later = Holding { saga: SagaId::new(), token: 6, from: at(41), until: None, ..held[0].clone() };
    let found = |second: &Holding, entries: &[(LockEntry, Option<SagaStatus>)]| {
        locks(&[held[0].clone(), second.clone()], entries).len()
    };
    assert_eq!(found(&later, &[]), 0);
    later.token = 5;
    assert_eq!(found(&later, &[]), 1, "a token that does not grow");
    (later.token, later.from) = (6, at(39));
    assert_eq!(found(&later, &[]), 1, "two at a time");
    later.from = at(41);
    let running = Some(SagaStatus::Running);
    assert_eq!(found(&later, &[(entry(later.saga, Some(6)), running), (entry(held[0].saga, None), running)]), 0);
    assert_eq!(found(&later, &[(entry(held[0].saga, Some(5)), Some(COMPLETED))]), 1, "owned by an ended saga");
    assert_eq!(found(&later, &[(entry(later.saga, Some(6)), running), (entry(held[0].saga, Some(5)), running)]), 1);
}
