//! What others ask of a saga's state, and go by: the engine, operators, the console.

use std::time::Duration;

use saga_core::definition::{Policy, StepPlan};
use saga_core::machine::{
    Attempt, AttentionReason, Halt, IllegalRecord, Mail, Moment, Next, Parent, ProbeAnswer, Record, Refused, Report,
    Resolution, SagaState, decode_turn, encode_turn,
};
use saga_core::{Class, Effect, Fault, Kind, Limits, Op, Plan, RetryPolicy};

use crate::support::{AT, begun, done, failed, payload, plan, policy, state, then, unknown};

const SECOND: Duration = Duration::from_secs(1);

fn one(step: StepPlan) -> Plan {
    Plan::new(vec![step], Vec::new()).unwrap()
}

fn put_off(step: &str, op: Op, by: Duration) -> Record {
    Record::Failed { step: step.into(), op, fault: unknown(), retry_at: Some(AT.after(by)) }
}

fn needs_attention(step: Option<&str>, reason: AttentionReason) -> Record {
    let error = "said so".to_owned();
    Record::NeedsAttention { step: step.map(Into::into), op: Op::Run, reason, error }
}

#[test]
fn a_saga_can_be_cancelled_until_it_turns_back() {
    let plan = plan(&[("hold", Kind::Compensatable)]);
    let begun = state(&plan, &[begun("hold", Op::Run, 1), done("hold")]);
    assert!(begun.can_cancel());
    let back = [Record::Halted { cause: Halt::Recalled }, Record::TurnedBack { step: None }];
    assert!(!then(begun, &plan, &back).can_cancel());
}

#[test]
fn a_saga_that_was_set_aside_goes_on_by_hand_and_no_other_does() {
    let plan = plan(&[("look", Kind::Query)]);
    let fresh = state(&plan, &[]);
    assert_eq!(fresh.resume_by_hand("ann", "why not"), Err(Refused::NotSetAside));
    let aside = then(fresh, &plan, &[needs_attention(None, AttentionReason::Unreadable)]);
    assert!(aside.is_set_aside() && aside.needs_attention());
    let resumed = then(aside.clone(), &plan, &[aside.resume_by_hand("ann", "deployed anew").unwrap()]);
    assert!(!resumed.is_set_aside() && !resumed.needs_attention());
}

#[test]
fn an_attempt_has_the_least_of_its_limits() {
    let retry = RetryPolicy::fixed(SECOND).attempts(9).within(Duration::from_secs(60));
    let limited = Policy::new(retry, Duration::from_secs(20));
    let step = StepPlan {
        compensate: Some(limited.clone()),
        ..StepPlan::new("hold", Kind::Compensatable, Vec::new(), limited)
    };
    let plan = one(step);
    let began = Record::Begun {
        step: "hold".into(),
        op: Op::Run,
        attempt: 1,
        generation: 0,
        at: Some(AT),
        input: saga_core::Digest::of_text("i"),
    };
    let trying = state(&plan, &[began]);
    let attempt = Attempt { step: 0, op: Op::Run, number: 1 };
    assert_eq!(trying.time_limit(&plan, attempt, AT), Duration::from_secs(20), "its own");
    assert_eq!(
        trying.time_limit(&plan, attempt, AT.after(Duration::from_secs(45))),
        Duration::from_secs(15),
        "what is left of all"
    );
}

#[test]
fn what_has_failed_is_put_off_and_what_waits_for_its_time_is_not() {
    let steps = [("hold", Kind::Compensatable), ("nap", Kind::Sleep)];
    let plan = plan(&steps);
    let of = |records: &[Record], step: usize| state(&plan, records).steps()[step].is_put_off();
    let tried = [begun("hold", Op::Run, 1)];
    let later = put_off("hold", Op::Run, SECOND);
    assert!(of(&[&tried[..], &[later]].concat(), 0));
    let held = [
        begun("hold", Op::Run, 1),
        done("hold"),
        Record::Sleeping { step: "nap".into(), until: Some(AT.after(SECOND)) },
    ];
    assert!(!of(&held, 1), "it sleeps, and has not failed");
    let back = [
        Record::Halted { cause: Halt::Recalled },
        Record::TurnedBack { step: None },
        begun("hold", Op::Compensate, 1),
        put_off("hold", Op::Compensate, SECOND),
    ];
    assert!(of(&[&held[..2], &back].concat(), 0));
}

#[test]
fn why_a_step_failed_and_why_its_undoing_did_are_told_apart() {
    let plan = plan(&[("hold", Kind::Compensatable)]);
    let why = |text: &str| Fault::unknown(text.to_owned());
    let both = [
        begun("hold", Op::Run, 1),
        Record::Failed { step: "hold".into(), op: Op::Run, fault: why("at first"), retry_at: Some(AT) },
        begun("hold", Op::Run, 2),
        failed("hold", Op::Run, why("no answer")),
        Record::TurnedBack { step: Some("hold".into()) },
        begun("hold", Op::Compensate, 1),
        failed("hold", Op::Compensate, why("no answer either")),
    ];
    let state = state(&plan, &both);
    let step = &state.steps()[0];
    let told = |fault: Option<&Fault>| fault.map(|fault| fault.message.clone());
    assert_eq!(told(step.fault()).as_deref(), Some("no answer"));
    assert_eq!(told(step.undo_fault()).as_deref(), Some("no answer either"));
}

#[test]
fn a_step_that_the_saga_went_on_without_says_why() {
    let plan = plan(&[("points", Kind::BestEffort)]);
    let certain = Fault { effect: Effect::NotApplied, ..Fault::unknown("no points today".to_owned()) };
    let failed = [begun("points", Op::Run, 1), failed("points", Op::Run, certain)];
    let soft = |records: &[Record]| state(&plan, records).steps()[0].soft_failure().map(str::to_owned);
    assert_eq!(soft(&failed), None, "not yet");
    let Next::Append(gone_on) = state(&plan, &failed).next(&plan, AT) else { panic!("it goes on") };
    assert_eq!(soft(&[&failed[..], &[gone_on]].concat()).as_deref(), Some("no points today"));
}

#[test]
fn a_step_of_a_list_knows_its_place_in_it() {
    let each = std::num::NonZeroUsize::new(2);
    let many = StepPlan { each, ..StepPlan::new("many", Kind::Query, Vec::new(), policy()) };
    let plan = one(many);
    let fanned = state(&plan, &[Record::FannedOut { step: "many".into(), items: 2 }]);
    let places: Vec<Option<u32>> = fanned.steps().iter().map(saga_core::machine::StepState::item).collect();
    assert_eq!(places, [None, Some(0), Some(1)]);
}

#[test]
fn only_a_crash_counts_as_one() {
    let plan = plan(&[("hold", Kind::Compensatable)]);
    let crashes = |crashed| {
        let cut = Record::Interrupted { step: "hold".into(), op: Op::Run, crashed, retry_at: Some(AT) };
        state(&plan, &[begun("hold", Op::Run, 1), cut]).steps()[0].tally(Op::Run).crashes
    };
    assert_eq!((crashes(true), crashes(false)), (1, 0));
}

#[test]
fn what_has_an_effect_is_not_done_before_it_began() {
    let plan = plan(&[("hold", Kind::Compensatable)]);
    let refused = SagaState::new(&plan, payload(), AT).apply(&plan, &done("hold"));
    assert!(matches!(refused, Err(IllegalRecord::NoSuchMove { .. })), "{refused:?}");
}

#[test]
fn only_what_may_be_left_out_is_given_up_when_it_cannot_be_sent_again() {
    let thrice = Policy::new(RetryPolicy::fixed(SECOND).attempts(3), SECOND);
    let limits = Limits::default();
    let moment = Moment { now: AT, chance: 0.5, limits: &limits };
    let again = |kind| {
        let compensate = (kind == Kind::Compensatable).then(policy);
        let step =
            StepPlan { replays_errors: true, compensate, ..StepPlan::new("step", kind, Vec::new(), thrice.clone()) };
        let plan = one(step);
        let tried = state(&plan, &[begun("step", Op::Run, 1)]);
        let fault = Fault { class: Class::Transient, ..unknown() };
        let report = Report::Failed { fault, retry_after: None };
        let failed = tried.report(&plan, Attempt { step: 0, op: Op::Run, number: 1 }, report, moment);
        matches!(failed, Record::Failed { retry_at: Some(_), .. })
    };
    assert_eq!((again(Kind::BestEffort), again(Kind::Compensatable)), (false, true));
}

#[test]
fn a_retryable_step_that_nobody_can_tell_about_is_a_riddle_for_a_human() {
    let plan = plan(&[("tell", Kind::Retryable)]);
    let tried = [begun("tell", Op::Run, 1), failed("tell", Op::Run, unknown()), begun("tell", Op::Probe, 1)];
    let answer = Record::Probed { step: "tell".into(), answer: ProbeAnswer::Unknown };
    let asked = then(state(&plan, &tried), &plan, &[answer]);
    let next = asked.next(&plan, AT);
    let reason = match next {
        Next::Append(Record::NeedsAttention { reason, .. }) => Some(reason),
        _ => None,
    };
    assert_eq!(reason, Some(AttentionReason::UnknownOutcome));
}

#[test]
fn an_undoing_that_is_not_due_is_not_begun() {
    let plan = plan(&[("hold", Kind::Compensatable)]);
    let back = [
        begun("hold", Op::Run, 1),
        done("hold"),
        Record::Halted { cause: Halt::Recalled },
        Record::TurnedBack { step: None },
        begun("hold", Op::Compensate, 1),
        put_off("hold", Op::Compensate, SECOND),
    ];
    let waiting = state(&plan, &back);
    assert_eq!(waiting.next(&plan, AT), Next::Wait { attempts: Vec::new(), wake_at: Some(AT.after(SECOND)) });
    assert_eq!(waiting.next(&plan, AT.after(SECOND)), Next::Begin { step: 0, op: Op::Compensate });
}

#[test]
fn reasons_and_first_attempts_are_stored_in_words_that_stay() {
    let reasons = [
        (AttentionReason::Failed, "failed"),
        (AttentionReason::UnknownOutcome, "unknown-outcome"),
        (AttentionReason::Poison, "poison"),
        (AttentionReason::Undecodable, "undecodable"),
        (AttentionReason::KeyExpired, "key-expired"),
        (AttentionReason::InputChanged, "input-changed"),
        (AttentionReason::Unreadable, "unreadable"),
    ];
    for (reason, word) in reasons {
        assert_eq!((reason.as_str(), reason.to_string().as_str()), (word, word));
    }
    // The first attempt is not written down.
    let first = begun("hold", Op::Run, 1);
    let text = serde_json::to_string(&first).unwrap();
    assert!(!text.contains("attempt"), "{text}");
    assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), first);
}

#[test]
fn a_compensation_does_not_know_the_sagas_deadline() {
    let patient = Policy::new(RetryPolicy::never(), Duration::from_secs(20));
    let step = StepPlan {
        compensate: Some(patient.clone()),
        ..StepPlan::new("hold", Kind::Compensatable, Vec::new(), patient)
    };
    let plan = one(step).with_deadline(Some(Duration::from_secs(5)));
    let trying = state(&plan, &[begun("hold", Op::Run, 1)]);
    let limit = |op| trying.time_limit(&plan, Attempt { step: 0, op, number: 1 }, AT.after(SECOND));
    assert_eq!(limit(Op::Run), Duration::from_secs(4), "what is left until the deadline");
    assert_eq!(limit(Op::Compensate), Duration::from_secs(20), "its own");
}

#[test]
fn a_step_begins_with_the_first_generation_of_its_key() {
    let thrice = Policy::new(RetryPolicy::fixed(SECOND).attempts(3), SECOND);
    let step = StepPlan { replays_errors: true, ..StepPlan::new("hold", Kind::Retryable, Vec::new(), thrice) };
    let plan = one(step);
    assert_eq!(state(&plan, &[]).next_generation(&plan, 0), 0);
    let certain = Fault { effect: Effect::NotApplied, ..Fault::unknown("declined".to_owned()) };
    let declined = [begun("hold", Op::Run, 1), failed("hold", Op::Run, certain)];
    assert_eq!(
        state(&plan, &declined).next_generation(&plan, 0),
        1,
        "the old key would be answered with the old error"
    );
}

#[test]
fn a_wish_to_retry_now_comes_too_late_where_nothing_waits() {
    let plan = plan(&[("hold", Kind::Compensatable)]);
    let wish = || Mail::RetryNow { actor: "ann".to_owned(), reason: "it is up again".to_owned() };
    let trying = state(&plan, &[begun("hold", Op::Run, 1)]);
    assert!(matches!(trying.receive("m", wish()), Record::Unread { .. }));
    let waiting = then(trying, &plan, &[put_off("hold", Op::Run, SECOND)]);
    let hurried = waiting.receive("m", wish());
    assert!(matches!(hurried, Record::RetriedNow { .. }));
    let hurried = then(waiting, &plan, &[hurried]);
    assert!(matches!(hurried.receive("n", wish()), Record::Unread { .. }), "it is tried at once already");
}

#[test]
fn a_child_knows_its_parent() {
    let plan = plan(&[("hold", Kind::Compensatable)]);
    let parent = Parent { definition: "order".to_owned(), key: "7".to_owned(), step: "items".into() };
    let begun = |parent| Record::Started { input: payload(), parent };
    let child = SagaState::started(&plan, &begun(Some(parent.clone())), AT).unwrap();
    assert_eq!(child.parent(), Some(&parent));
    assert_eq!(SagaState::started(&plan, &begun(None), AT).unwrap().parent(), None);
}

#[test]
fn a_turn_is_read_as_it_was_written() {
    let turn = [begun("hold", Op::Run, 1), done("hold")];
    assert_eq!(decode_turn(&encode_turn(&turn).unwrap()).unwrap(), turn);
    assert!(decode_turn("[{\"of_a_later_version\":{}}]").is_err());
}

#[test]
fn only_of_the_pivot_a_human_can_have_asked_what_became_of_it() {
    let plan = plan(&[("take", Kind::Pivot), ("tell", Kind::Retryable)]);
    let taken = [begun("take", Op::Run, 1), done("take")];
    let riddle = |step| {
        [
            begun(step, Op::Run, 1),
            failed(step, Op::Run, unknown()),
            needs_attention(Some(step), AttentionReason::UnknownOutcome),
        ]
    };
    let ask = |records: &[Record], step: &str| {
        state(&plan, records).resolve_by_hand(&plan, &step.into(), Resolution::Probe, "ann", "it is up again")
    };
    assert!(ask(&riddle("take"), "take").is_ok());
    let refused = ask(&[&taken[..], &riddle("tell")].concat(), "tell");
    assert_eq!(refused, Err(Refused::NothingToProbe { step: "tell".into() }));
}

#[test]
fn which_step_turned_the_saga_back_is_known() {
    let plan = plan(&[("hold", Kind::Compensatable), ("take", Kind::Compensatable)]);
    let certain = Fault { effect: Effect::NotApplied, ..Fault::unknown("declined".to_owned()) };
    let declined =
        [begun("hold", Op::Run, 1), done("hold"), begun("take", Op::Run, 1), failed("take", Op::Run, certain)];
    let going = state(&plan, &declined);
    assert!(going.cause().is_none(), "not yet");
    let back = then(going, &plan, &[Record::TurnedBack { step: Some("take".into()) }]);
    assert_eq!(back.cause().map(|step| step.name().as_str()), Some("take"));
    assert_eq!(back.reason().message, "declined");
}

#[test]
fn each_intent_counts_one_attempt_more() {
    let thrice = Policy::new(RetryPolicy::fixed(SECOND).attempts(3), SECOND);
    let plan = one(StepPlan::new("look", Kind::Query, Vec::new(), thrice));
    let input = || saga_core::Digest::of_text("i");
    let number = |state: &SagaState| match state.intent(&plan, 0, Op::Run, input(), AT) {
        Record::Begun { attempt, .. } => attempt,
        other => panic!("{other:?}"),
    };
    let fresh = state(&plan, &[]);
    assert_eq!(number(&fresh), 1);
    let once = then(fresh, &plan, &[begun("look", Op::Run, 1), put_off("look", Op::Run, SECOND)]);
    assert_eq!(number(&once), 2);
}
