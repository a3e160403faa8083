//! Single decisions, where a random saga seldom comes: each is one that mutation testing found nobody to miss.

use std::time::Duration;

use saga_core::definition::{Policy, StepPlan};
use saga_core::machine::{
    AttentionReason, ChildEnd, Direction, Halt, Held, Mail, Moment, Next, Parent, ProbeAnswer, Record, Refused,
    Resolution, SagaState, encode_turn,
};
use saga_core::{Digest, Fault, Kind, Limits, Op, Plan, RetryPolicy, SagaId, StepName};

use crate::support::{AT, begun, delegated, done, failed, payload, plan, policy, state, then, unknown};

/// Why nothing came of a message.
fn unread(state: &SagaState, mail: Mail) -> String {
    match state.receive("m", mail) {
        Record::Unread { id, error } if id == "m" => error,
        other => panic!("{other:?}"),
    }
}

fn child_ended(step: &str, end: ChildEnd) -> Mail {
    Mail::ChildEnded { step: step.into(), end }
}

#[test]
fn a_child_is_heard_while_its_step_waits_and_is_told_apart_when_it_is_undone() {
    let plan = plan(&[("child", Kind::Child), ("next", Kind::Query)]);
    let fresh = state(&plan, &[]);
    let completed = || ChildEnd::Completed(payload());
    assert_eq!(unread(&fresh, child_ended("child", completed())), "no step waits for this child");
    let waiting = then(fresh, &plan, &[delegated("child")]);
    assert_eq!(waiting.receive("m", child_ended("child", completed())), done("child"));
    let halted = Record::Halted { cause: Halt::Recalled };
    let back = [done("child"), halted, Record::TurnedBack { step: None }, Record::Recalled { step: "child".into() }];
    let recalling = then(waiting, &plan, &back);
    assert_eq!(unread(&recalling, child_ended("child", completed())), "the child is being undone already");
    let undone = recalling.receive("m", child_ended("child", ChildEnd::RolledBack(unknown())));
    assert_eq!(undone, Record::Compensated { step: "child".into(), watch_at: None });
}

#[test]
fn only_children_that_are_done_are_kept() {
    let plan = plan(&[("look", Kind::Query), ("first", Kind::Child), ("second", Kind::Child)]);
    let kept = |records: &[Record]| state(&plan, records).kept_children(&plan).collect::<Vec<_>>();
    assert_eq!(kept(&[begun("look", Op::Run, 1), done("look"), delegated("first")]), [0_usize; 0]);
    let first = [begun("look", Op::Run, 1), done("look"), delegated("first"), done("first"), delegated("second")];
    assert_eq!(kept(&first), [1]);
    assert_eq!(kept(&[&first[..], &[done("second")]].concat()), [1, 2]);
}

#[test]
fn a_parent_can_have_undone_what_goes_forward_or_is_kept_and_nothing_else() {
    let plan = plan(&[("hold", Kind::Compensatable)]);
    let recall = |state: &SagaState| state.receive("m", Mail::Recall);
    let fresh = state(&plan, &[]);
    let halted = Record::Halted { cause: Halt::Recalled };
    assert_eq!(recall(&fresh), halted);
    let called_off = then(fresh, &plan, &[halted]);
    assert_eq!(unread(&called_off, Mail::Recall), "it turns back already");
    let finished = [begun("hold", Op::Run, 1), done("hold"), Record::Completed];
    let alone = state(&plan, &finished);
    assert_eq!(unread(&alone, Mail::Recall), "it cannot be undone any more");
    assert_eq!(unread(&alone, Mail::Release), "it is not kept for its parent");
    let parent = Parent { definition: "order".to_owned(), key: "k".to_owned(), step: "child".into() };
    let started = Record::Started { input: payload(), parent: Some(parent) };
    let kept = then(SagaState::started(&plan, &started, AT).unwrap(), &plan, &finished);
    assert_eq!((recall(&kept), kept.receive("m", Mail::Release)), (Record::Reopened, Record::Released));
}

#[test]
fn locks_that_nobody_waits_for_are_not_taken() {
    let plan = plan(&[("lock", Kind::Lock)]);
    let mail = || Mail::Locked { step: "lock".into(), tokens: [("user:1".to_owned(), 7)].into() };
    let fresh = state(&plan, &[]);
    assert_eq!(unread(&fresh, mail()), "the step does not wait for locks any more");
    let asking = Record::Locking {
        step: "lock".into(),
        keys: vec!["user:1".to_owned()],
        until: AT.after(Duration::from_secs(9)),
    };
    assert!(matches!(then(fresh, &plan, &[asking]).receive("m", mail()), Record::Done { .. }));
}

#[test]
fn a_step_that_is_held_waits_until_its_service_may_be_called() {
    let plan = plan(&[("take", Kind::Pivot)]);
    let soon = AT.after(Duration::from_secs(5));
    let mut held = Held::default();
    held.hold(0, soon);
    let waits = Next::Wait { attempts: Vec::new(), wake_at: Some(soon) };
    let fresh = state(&plan, &[]);
    assert_eq!(fresh.next_holding(&plan, AT, &held), waits);
    assert_eq!(fresh.next_holding(&plan, soon, &held), Next::Begin { step: 0, op: Op::Run });
    // The question as well goes to that service: whether an unknown pivot happened.
    let in_doubt = state(&plan, &[begun("take", Op::Run, 1), failed("take", Op::Run, unknown())]);
    assert_eq!(in_doubt.next_holding(&plan, AT, &held), waits);
    assert_eq!(in_doubt.next_holding(&plan, soon, &held), Next::Begin { step: 0, op: Op::Probe });
}

#[test]
fn a_human_is_told_what_the_failing_operation_said() {
    let plan = plan(&[("hold", Kind::Compensatable), ("take", Kind::Pivot)]);
    let refused = || Fault::unknown("the card is refused".to_owned());
    let void = || Fault::unknown("the void is refused".to_owned());
    let records = [
        begun("hold", Op::Run, 1),
        failed("hold", Op::Run, refused()),
        Record::TurnedBack { step: Some("hold".into()) },
        begun("hold", Op::Compensate, 1),
        failed("hold", Op::Compensate, void()),
    ];
    let calls = |state: &SagaState| match state.next(&plan, AT) {
        Next::Append(Record::NeedsAttention { op, error, .. }) => (op, error),
        other => panic!("{other:?}"),
    };
    assert_eq!(calls(&state(&plan, &records)), (Op::Compensate, "the void is refused".to_owned()));
    let records = [
        begun("hold", Op::Run, 1),
        done("hold"),
        begun("take", Op::Run, 1),
        failed("take", Op::Run, refused()),
        begun("take", Op::Probe, 1),
        Record::Probed { step: "take".into(), answer: ProbeAnswer::Unknown },
    ];
    assert_eq!(calls(&state(&plan, &records)), (Op::Run, "the card is refused".to_owned()));
}

#[test]
fn what_was_begun_is_undone_last_first() {
    let plan = plan(&[("a", Kind::Compensatable), ("b", Kind::Compensatable), ("c", Kind::Query)]);
    let back = [
        begun("a", Op::Run, 1),
        done("a"),
        begun("b", Op::Run, 1),
        done("b"),
        Record::Halted { cause: Halt::Deadline },
        Record::TurnedBack { step: None },
    ];
    let turned = state(&plan, &back);
    assert_eq!((0..3).filter(|step| turned.is_owed(&plan, *step)).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(turned.next(&plan, AT), Next::Begin { step: 1, op: Op::Compensate });
    let undone = [begun("b", Op::Compensate, 1), Record::Compensated { step: "b".into(), watch_at: None }];
    assert_eq!(then(turned, &plan, &undone).next(&plan, AT), Next::Begin { step: 0, op: Op::Compensate });
}

#[test]
fn a_step_that_kills_its_workers_is_set_aside_and_what_can_do_without_yields() {
    let mut limits = Limits::default();
    limits.crashes_max = 1;
    let moment = Moment { now: AT, chance: 0.5, limits: &limits };
    let told = |kind: Kind, crashed: bool| {
        let run = Policy::new(RetryPolicy::fixed(Duration::from_secs(1)).attempts(5), Duration::from_secs(1));
        let compensate = (kind == Kind::Compensatable).then(policy);
        let step = StepPlan { compensate, ..StepPlan::new("step", kind, Vec::new(), run) };
        let plan = Plan::new(vec![step], Vec::new()).unwrap();
        let mut records = state(&plan, &[begun("step", Op::Run, 1)]).interrupt(&plan, crashed, moment);
        let human = records.len() == 2;
        let Record::Interrupted { retry_at, .. } = records.remove(0) else { panic!("{records:?}") };
        (retry_at, human)
    };
    assert_eq!(told(Kind::Compensatable, true), (Some(AT), true));
    assert_eq!(told(Kind::Compensatable, false), (Some(AT), false));
    assert_eq!(told(Kind::BestEffort, true), (None, false));
    assert_eq!(told(Kind::BestEffort, false), (Some(AT), false));
}

#[test]
fn there_are_as_many_attempts_as_the_policy_says() {
    let thrice = || Policy::new(RetryPolicy::fixed(Duration::from_secs(1)).attempts(3), Duration::from_secs(1));
    let step =
        StepPlan { compensate: Some(thrice()), ..StepPlan::new("hold", Kind::Compensatable, Vec::new(), thrice()) };
    let plan = Plan::new(vec![step], Vec::new()).unwrap();
    let limits = Limits::default();
    let moment = Moment { now: AT, chance: 0.5, limits: &limits };
    let mut tried = state(&plan, &[]);
    let attempts = |tried: &mut SagaState, op| {
        for number in 1.. {
            *tried = then(tried.clone(), &plan, &[begun("hold", op, number)]);
            let fault = Fault { class: saga_core::Class::Transient, ..unknown() };
            let report = saga_core::machine::Report::Failed { fault, retry_after: None };
            let failed = tried.report(&plan, saga_core::machine::Attempt { step: 0, op, number }, report, moment);
            let last = matches!(failed, Record::Failed { retry_at: None, .. });
            *tried = then(tried.clone(), &plan, &[failed]);
            if last || number > 9 {
                return number;
            }
        }
        0
    };
    assert_eq!(attempts(&mut tried, Op::Run), 3);
    tried = then(tried, &plan, &[Record::TurnedBack { step: Some("hold".into()) }]);
    assert_eq!(attempts(&mut tried, Op::Compensate), 3);
}

#[test]
fn a_question_is_asked_as_often_as_the_policy_says() {
    let thrice = Policy::new(RetryPolicy::fixed(Duration::from_secs(1)).attempts(3), Duration::from_secs(1));
    let plan = Plan::new(vec![StepPlan::new("take", Kind::Pivot, Vec::new(), thrice)], Vec::new()).unwrap();
    let limits = Limits::default();
    let moment = Moment { now: AT, chance: 0.5, limits: &limits };
    let mut asked = state(&plan, &[begun("take", Op::Run, 1), failed("take", Op::Run, unknown())]);
    for number in 1..=3 {
        asked = then(asked, &plan, &[begun("take", Op::Probe, number)]);
        let fault = Fault { class: saga_core::Class::Transient, ..unknown() };
        let report = saga_core::machine::Report::Failed { fault, retry_after: None };
        let failed =
            asked.report(&plan, saga_core::machine::Attempt { step: 0, op: Op::Probe, number }, report, moment);
        let again = matches!(failed, Record::Failed { retry_at: Some(_), .. });
        assert_eq!(again, number < 3, "{failed:?}");
        asked = then(asked, &plan, &[failed]);
    }
}

#[test]
fn without_a_pivot_the_first_retryable_step_is_the_point_of_no_return() {
    let plan = plan(&[("hold", Kind::Compensatable), ("tell", Kind::Retryable)]);
    let held = state(&plan, &[begun("hold", Op::Run, 1), done("hold")]);
    assert_eq!(held.direction(), Direction::Forward);
    assert_eq!(then(held, &plan, &[begun("tell", Op::Run, 1)]).direction(), Direction::Committed);
}

#[test]
fn late_effects_are_watched_for_at_growing_distances() {
    let watch = Some(Duration::from_secs(48 * 3_600));
    let compensate = Some(policy());
    let step = StepPlan { compensate, watch, ..StepPlan::new("hold", Kind::Compensatable, Vec::new(), policy()) };
    let plan = Plan::new(vec![step], Vec::new()).unwrap();
    let limits = Limits::default();
    let moment = |now| Moment { now, chance: 0.5, limits: &limits };
    let attempt = |op| saga_core::machine::Attempt { step: 0, op, number: 1 };
    let mut watched = state(
        &plan,
        &[
            begun("hold", Op::Run, 1),
            failed("hold", Op::Run, unknown()),
            Record::TurnedBack { step: Some("hold".into()) },
            begun("hold", Op::Compensate, 1),
        ],
    );
    let (mut now, mut distances) = (AT, Vec::new());
    let mut record =
        watched.report(&plan, attempt(Op::Compensate), saga_core::machine::Report::Compensated, moment(now));
    loop {
        let due = match &record {
            Record::Compensated { watch_at, .. } | Record::Watched { watch_at, .. } => *watch_at,
            other => panic!("{other:?}"),
        };
        let over = matches!(record, Record::Compensated { .. }).then_some(Record::RolledBack);
        watched = then(watched, &plan, &[vec![record], over.into_iter().collect()].concat());
        let Some(due) = due else { break };
        distances.push(due.since(AT).as_secs());
        now = due;
        // Each question is a new one: its attempts are counted from one.
        watched = then(watched, &plan, &[begun("hold", Op::Probe, 1)]);
        let unknown = saga_core::machine::Report::Probed(ProbeAnswer::Unknown);
        record = watched.report(&plan, attempt(Op::Probe), unknown, moment(now));
    }
    assert_eq!(distances, [60, 600, 3_600, 86_400, 172_800]);
}

#[test]
fn turns_are_counted() {
    let plan = plan(&[("look", Kind::Query)]);
    let mut counted = state(&plan, &[]);
    let before = counted.turns();
    counted.turn_written();
    counted.turn_written();
    assert_eq!(counted.turns(), before + 2);
}

#[test]
fn the_limit_of_turns_is_blamed_for_transient_failures_alone() {
    let plan = plan(&[("look", Kind::Query)]);
    let mut limits = Limits::default();
    limits.turns_max = 0;
    let moment = Moment { now: AT, chance: 0.5, limits: &limits };
    let state = state(&plan, &[begun("look", Op::Run, 1)]);
    let attempt = saga_core::machine::Attempt { step: 0, op: Op::Run, number: 1 };
    let said = |class, limits: &Limits| {
        let fault = Fault { class, ..unknown() };
        let report = saga_core::machine::Report::Failed { fault, retry_after: None };
        match state.report(&plan, attempt, report, Moment { limits, ..moment }) {
            Record::Failed { fault, .. } => fault.message,
            other => panic!("{other:?}"),
        }
    };
    assert!(said(saga_core::Class::Transient, &limits).contains("turns_max"));
    assert_eq!(said(saga_core::Class::Terminal, &limits), "no answer");
    assert_eq!(said(saga_core::Class::Transient, &Limits::default()), "no answer");
}

#[test]
fn a_decision_needs_an_actor_and_a_reason_and_must_make_sense() {
    let plan = plan(&[("hold", Kind::Compensatable), ("take", Kind::Pivot), ("tell", Kind::Retryable)]);
    let taken = [begun("hold", Op::Run, 1), done("hold"), begun("take", Op::Run, 1), done("take")];
    let blocked = |step: &str| Record::NeedsAttention {
        step: Some(step.into()),
        op: Op::Run,
        reason: AttentionReason::Failed,
        error: "no".to_owned(),
    };
    let told = [begun("tell", Op::Run, 1), failed("tell", Op::Run, unknown()), blocked("tell")];
    let stuck = state(&plan, &[&taken[..], &told].concat());
    let decide = |state: &SagaState, step: &str, resolution, actor: &str, reason: &str| {
        state.resolve_by_hand(&plan, &StepName::from(step), resolution, actor, reason)
    };
    for (actor, reason) in [("", "looked"), ("ann", ""), (" ", " ")] {
        assert_eq!(decide(&stuck, "tell", Resolution::Retry, actor, reason), Err(Refused::NoReason));
        assert_eq!(stuck.resume_by_hand(actor, reason), Err(Refused::NoReason));
    }
    assert_eq!(stuck.direction(), Direction::Committed);
    // Past the point of no return it must be done; before it, the saga turns back.
    let never = decide(&stuck, "tell", Resolution::NotApplied, "ann", "looked");
    assert_eq!(never, Err(Refused::MustBeDone { step: "tell".into() }));
    let early = state(&plan, &[begun("hold", Op::Run, 1), failed("hold", Op::Run, unknown()), blocked("hold")]);
    assert!(decide(&early, "hold", Resolution::NotApplied, "ann", "looked").is_ok());
}

#[test]
fn an_operators_retry_grants_as_many_attempts_as_at_first() {
    let plan = plan(&[("take", Kind::Pivot)]);
    let resolved = Record::Resolved {
        step: Some("take".into()),
        op: Op::Run,
        resolution: Resolution::Retry,
        actor: "ann".to_owned(),
        reason: "it is back".to_owned(),
    };
    let calls =
        |op, reason| Record::NeedsAttention { step: Some("take".into()), op, reason, error: "no key".to_owned() };
    let stuck = state(
        &plan,
        &[begun("take", Op::Run, 1), failed("take", Op::Run, unknown()), calls(Op::Run, AttentionReason::Failed)],
    );
    let tally = |state: &SagaState| {
        let tally = state.steps()[0].tally(Op::Run);
        (tally.attempts, tally.since_granted)
    };
    assert_eq!(tally(&stuck), (1, 1));
    assert_eq!(tally(&then(stuck, &plan, &[resolved])), (1, 0), "the total goes on");
}

#[test]
fn the_first_attempt_is_remembered_with_its_input_and_its_time() {
    let plan = plan(&[("hold", Kind::Compensatable)]);
    let at = |at, input: &str| Record::Begun {
        step: "hold".into(),
        op: Op::Run,
        attempt: 1,
        generation: 0,
        at: Some(at),
        input: Digest::of_text(input),
    };
    let later = AT.after(Duration::from_secs(9));
    let retried = Record::Failed { step: "hold".into(), op: Op::Run, fault: unknown(), retry_at: Some(later) };
    let twice = state(&plan, &[at(AT, "first"), retried, at(later, "second")]);
    assert_eq!(twice.steps()[0].input(), Some(Digest::of_text("first")));
    assert_eq!(twice.steps()[0].keyed_at(), Some(AT), "a key's time runs from its first use");
}

#[test]
fn why_a_step_or_its_undoing_cannot_be_read_stands_where_it_belongs() {
    let plan = plan(&[("hold", Kind::Compensatable), ("look", Kind::Query)]);
    let unreadable = |op| Record::NeedsAttention {
        step: Some("hold".into()),
        op,
        reason: AttentionReason::Undecodable,
        error: "no number".to_owned(),
    };
    let said = |fault: Option<&Fault>| fault.map(|fault| fault.message.clone());
    let running = state(&plan, &[unreadable(Op::Run)]);
    let step = &running.steps()[0];
    assert_eq!((said(step.fault()), said(step.undo_fault())), (Some("no number".to_owned()), None));
    let back = [
        begun("hold", Op::Run, 1),
        done("hold"),
        Record::Halted { cause: Halt::Deadline },
        Record::TurnedBack { step: None },
    ];
    let undoing = state(&plan, &[&back[..], &[unreadable(Op::Compensate)]].concat());
    let step = &undoing.steps()[0];
    assert_eq!((said(step.fault()), said(step.undo_fault())), (None, Some("no number".to_owned())));
}

#[test]
fn what_is_read_later_cannot_be_skipped() {
    let look = StepPlan::new("look", Kind::Query, Vec::new(), policy());
    let see = StepPlan { reads: vec![0], ..StepPlan::new("see", Kind::Query, vec![0], policy()) };
    for (steps, refused) in [(vec![look.clone(), see], true), (vec![look], false)] {
        let plan = Plan::new(steps, Vec::new()).unwrap();
        let calls = Record::NeedsAttention {
            step: Some("look".into()),
            op: Op::Run,
            reason: AttentionReason::Undecodable,
            error: "no number".to_owned(),
        };
        let stuck = state(&plan, &[calls]);
        let skipped = stuck.resolve_by_hand(&plan, &"look".into(), Resolution::Skip, "ann", "looked");
        let why = Refused::CannotSkip { step: "look".into(), why: "its output is read later" };
        assert_eq!(skipped.err(), refused.then_some(why));
    }
}

#[test]
fn stored_words_and_stored_forms_do_not_change() {
    let words = [
        (Resolution::Retry, "retry"),
        (Resolution::Probe, "probe"),
        (Resolution::Skip, "skip"),
        (Resolution::Supply(payload()), "supply"),
        (Resolution::NotApplied, "not-applied"),
    ];
    for (resolution, word) in words {
        assert_eq!(resolution.as_str(), word);
    }
    // What is as it nearly always is costs no bytes.
    let plain = encode_turn(&[begun("a", Op::Run, 1)]).unwrap();
    assert!(!plain.contains("generation") && !plain.contains("attempt") && !plain.contains("op\""), "{plain}");
    let other = Record::Begun {
        step: "a".into(),
        op: Op::Probe,
        attempt: 2,
        generation: 3,
        at: None,
        input: Digest::of_text("i"),
    };
    let other = encode_turn(&[other]).unwrap();
    assert!(
        other.contains("\"generation\":3") && other.contains("\"attempt\":2") && other.contains("\"op\""),
        "{other}"
    );
}

#[test]
fn what_nobody_waits_for_is_seen_to_once() {
    let plan = plan(&[("look", Kind::Query)]);
    let signalled = |id: &str| Record::Signalled { name: "paid".to_owned(), payload: payload(), id: id.to_owned() };
    let by = SagaId::new();
    let followed = |id: &str| Record::FollowedUp { id: id.to_owned(), by };
    let over = [begun("look", Op::Run, 1), done("look"), signalled("one"), signalled("two"), Record::Completed];
    let two = state(&plan, &over);
    assert_eq!(two.next(&plan, AT), Next::FollowUp);
    let one = then(two, &plan, &[followed("one")]);
    assert_eq!(one.next(&plan, AT), Next::FollowUp, "the other one is still there");
    assert_eq!(then(one, &plan, &[followed("two")]).next(&plan, AT), Next::Ended);
}

#[test]
fn a_step_that_fanned_out_knows_its_items_in_order() {
    let each = std::num::NonZeroUsize::new(2);
    let many = StepPlan { each, ..StepPlan::new("many", Kind::Query, vec![0], policy()) };
    let plan = Plan::new(vec![StepPlan::new("look", Kind::Query, Vec::new(), policy()), many], Vec::new()).unwrap();
    let looked = [begun("look", Op::Run, 1), done("look")];
    let fanned = then(state(&plan, &looked), &plan, &[Record::FannedOut { step: "many".into(), items: 2 }]);
    let names = |step| fanned.items(step).map(|item| item.name().to_string()).collect::<Vec<_>>();
    assert_eq!(names(1), ["many[0]", "many[1]"]);
    assert!(names(0).is_empty());
}

#[test]
fn a_retryable_step_that_certainly_did_not_happen_is_a_failure_and_no_riddle() {
    let plan = plan(&[("tell", Kind::Retryable)]);
    let reason = |fault: Fault| match state(&plan, &[begun("tell", Op::Run, 1), failed("tell", Op::Run, fault)])
        .next(&plan, AT)
    {
        Next::Append(Record::NeedsAttention { reason, .. }) => Some(reason),
        _ => None,
    };
    let certain = Fault { effect: saga_core::Effect::NotApplied, ..unknown() };
    assert_eq!(reason(certain), Some(AttentionReason::Failed));
    assert_ne!(reason(unknown()), Some(AttentionReason::UnknownOutcome), "it has not been asked yet");
}

#[test]
fn a_step_that_is_held_no_longer_wakes_nobody() {
    let plan = plan(&[("look", Kind::Query), ("take", Kind::Pivot)]);
    let looking = state(&plan, &[begun("look", Op::Run, 1)]);
    let mut held = Held::default();
    held.hold(1, AT);
    let Next::Wait { wake_at, .. } = looking.next_holding(&plan, AT, &held) else { panic!("it looks") };
    assert_eq!(wake_at, None);
}

#[test]
fn a_step_that_certainly_failed_turns_the_saga_back() {
    let certain = || Fault { effect: saga_core::Effect::NotApplied, ..unknown() };
    for kind in [Kind::Query, Kind::Compensatable, Kind::Pivot] {
        let plan = plan(&[("step", kind)]);
        let failed = state(&plan, &[begun("step", Op::Run, 1), failed("step", Op::Run, certain())]);
        let back = Record::TurnedBack { step: Some("step".into()) };
        assert_eq!(failed.next(&plan, AT), Next::Append(back), "{kind:?}");
    }
}

/// Errors that a participant replays belong to the old key: it takes no horizon to need a new one.
#[test]
fn a_participant_that_replays_its_errors_is_asked_anew_under_a_new_key() {
    let thrice = Policy::new(RetryPolicy::fixed(Duration::from_secs(1)).attempts(3), Duration::from_secs(1));
    let next = |replays_errors| {
        let step = StepPlan { replays_errors, ..StepPlan::new("take", Kind::Pivot, Vec::new(), thrice.clone()) };
        let plan = Plan::new(vec![step], Vec::new()).unwrap();
        let transient = Fault { class: saga_core::Class::Transient, ..unknown() };
        let asked = [begun("take", Op::Run, 1), failed("take", Op::Run, transient), begun("take", Op::Probe, 1)];
        let answer = Record::Probed { step: "take".into(), answer: ProbeAnswer::NotApplied };
        let proven = then(state(&plan, &asked), &plan, &[answer]);
        (proven.next(&plan, AT), proven.next_generation(&plan, 0))
    };
    assert_eq!(next(true), (Next::Begin { step: 0, op: Op::Run }, 1));
    assert_eq!(next(false).0, Next::Append(Record::TurnedBack { step: Some("take".into()) }));
}

#[test]
fn the_signal_that_a_step_took_is_taken_and_no_other() {
    let signal = Some("paid".into());
    let wait = StepPlan { signal, ..StepPlan::new("wait", Kind::Signal, Vec::new(), policy()) };
    let plan = Plan::new(vec![wait], Vec::new()).unwrap();
    let signalled = |name: &str| Record::Signalled { id: name.to_owned(), name: name.to_owned(), payload: payload() };
    let sleeping = Record::Sleeping { step: "wait".into(), until: None };
    let taken = state(&plan, &[sleeping, signalled("other"), signalled("paid"), done("wait")]);
    let left: Vec<&str> = taken.untaken_signals().iter().map(|signal| signal.name.as_str()).collect();
    assert_eq!(left, ["other"]);
}
