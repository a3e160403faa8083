//! S24: a history that was tampered with is refused, or is another history; it is never a panic.

use std::time::Duration;

use fastrand::Rng;
use saga_core::definition::{Policy, StepPlan};
use saga_core::machine::{AttentionReason, Halt, ProbeAnswer, Record, Resolution, SagaState, decode_turn, encode_turn};
use saga_core::{Digest, Fault, Kind, Op, Payload, Plan, RetryPolicy, StepName, Timestamp};

const STARTED_AT: Timestamp = Timestamp::from_micros(1);

fn plan() -> Plan {
    let policy = || Policy::new(RetryPolicy::never(), Duration::from_secs(1));
    let step = |name: &str, kind, after| StepPlan {
        compensate: (kind == Kind::Compensatable).then(policy),
        ..StepPlan::new(name, kind, after, policy())
    };
    let steps = vec![
        step("hold", Kind::Compensatable, vec![]),
        step("take", Kind::Pivot, vec![0]),
        step("tell", Kind::BestEffort, vec![1]),
    ];
    Plan::new(steps, Vec::new()).unwrap()
}

/// Every kind of record, in no order that makes sense.
fn records() -> Vec<Record> {
    let payload = || Payload::from_json("{\"a\":[1,null,\"x\"]}".to_owned()).unwrap();
    let mut records =
        vec![Record::Started { input: payload(), parent: None }, Record::Halted { cause: Halt::Deadline }];
    for name in ["hold", "take", "tell", "no such step"] {
        let step = || StepName::from(name);
        for op in [Op::Run, Op::Probe, Op::Compensate] {
            let fault = Fault::unknown("no answer".to_owned());
            let (error, reason) = ("no".to_owned(), AttentionReason::Failed);
            records.extend([
                Record::Begun { step: step(), op, attempt: 1, generation: 0, at: None, input: Digest::of_text("i") },
                Record::Failed { step: step(), op, fault, retry_at: None },
                Record::Interrupted { step: step(), op, crashed: true, retry_at: Some(STARTED_AT) },
                Record::NeedsAttention { step: Some(step()), op, reason, error },
            ]);
            for resolution in [Resolution::Retry, Resolution::Skip, Resolution::Probe, Resolution::NotApplied] {
                let (actor, reason) = ("ann".to_owned(), "looked".to_owned());
                records.push(Record::Resolved { step: Some(step()), op, resolution, actor, reason });
            }
        }
        records.extend([
            Record::Done { step: step(), output: payload() },
            Record::Probed { step: step(), answer: ProbeAnswer::NotApplied },
            Record::Watched { step: step(), answer: ProbeAnswer::Applied(payload()), watch_at: None },
            Record::SoftFailed { step: step() },
            Record::TurnedBack { step: Some(step()) },
            Record::Compensated { step: step(), watch_at: Some(STARTED_AT) },
        ]);
    }
    records.push(Record::RetriedNow { actor: "ann".to_owned(), reason: "it is back".to_owned() });
    records.extend([Record::TurnedBack { step: None }, Record::Completed, Record::RolledBack]);
    records
}

#[test]
fn a_stored_turn_with_broken_bytes_never_panics() {
    let (plan, records) = (plan(), records());
    for seed in 0..20_000 {
        let mut rng = Rng::with_seed(seed);
        let turn: Vec<Record> = (0..rng.usize(1..6)).map(|_| records[rng.usize(..records.len())].clone()).collect();
        let mut bytes = encode_turn(&turn).unwrap().into_bytes();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..bytes.len());
            match rng.u8(0..3) {
                0 => bytes[at] ^= 1 << rng.u8(0..8),
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, rng.u8(..)),
            }
        }
        let Ok(text) = String::from_utf8(bytes) else { continue };
        if let Ok(turn) = decode_turn(&text) {
            // Whether it is refused depends on what was broken; that it answers does not.
            let started = vec![Record::Started { input: Payload::from_json("1".to_owned()).unwrap(), parent: None }];
            SagaState::replay(&plan, &[started, turn], STARTED_AT).ok();
        }
    }
}

#[test]
fn records_in_an_order_that_no_machine_writes_are_refused_and_change_nothing() {
    let (plan, records) = (plan(), records());
    let mut refused = 0;
    for seed in 0..5_000 {
        let mut rng = Rng::with_seed(seed);
        let mut state = SagaState::new(&plan, Payload::from_json("1".to_owned()).unwrap(), STARTED_AT);
        for _ in 0..30 {
            let before = state.clone();
            if state.apply(&plan, &records[rng.usize(..records.len())]).is_err() {
                assert_eq!(state, before, "a refused record changes nothing");
                refused += 1;
            }
            // Whatever the state is, it says what comes next.
            let _next = state.next(&plan, STARTED_AT);
        }
    }
    assert!(refused > 1_000);
}
