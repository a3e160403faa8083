//! The machine driven through random definitions, random outcomes and crashes after any record, in a
//! world that remembers what really happened.

mod books;
mod checks;
mod definitions;
mod outsiders;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use saga_core::machine::{
    Attempt, AttentionReason, Direction, Mail, Moment, Next, Parent, Phase, Record, Resolution, SagaState, TRANSITIONS,
};
use saga_core::{Digest, Kind, Limits, Op, Payload, Plan, SagaId, StepName, Timestamp};

use definitions::random_steps;

/// How many sagas are driven, each from its own seed; `SAGA_SEEDS` sets another number, `SAGA_SEED`
/// replays one.
const SEEDS: u64 = 20_000;
const STARTED_AT: Timestamp = Timestamp::from_micros(1);
/// How long a late effect is watched for, and how late it can be.
const WATCH: Duration = Duration::from_secs(25 * 60 * 60);

#[test]
fn no_saga_breaks_a_promise_whatever_happens_to_it() {
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let (only, seeds) = (number("SAGA_SEED"), number("SAGA_SEEDS").unwrap_or(SEEDS));
    let mut seen = BTreeMap::new();
    let mut moves = BTreeSet::new();
    for seed in only.map_or(0..seeds, |seed| seed..seed + 1) {
        let driven = std::panic::catch_unwind(|| Run::new(seed).drive());
        match driven {
            Ok((counts, moved)) => {
                counts.into_iter().for_each(|what| *seen.entry(what).or_insert(0_u64) += 1);
                moves.extend(moved);
            }
            Err(panic) => {
                eprintln!("replay with SAGA_SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    if only.is_none() {
        for what in [
            "completed",
            "rolled back",
            "crash",
            "crash before an append",
            "probe applied",
            "probe not applied",
            "probe unknown",
            "unknown step compensated",
            "compensation retried",
            "human called",
            "supplied",
            "skipped",
            "soft failure",
            "poison",
            "pivot disproved",
            "asked before another attempt",
            "a new key",
            "halted",
            "late effect",
            "passed over",
            "fanned out",
            "signal taken",
            "signal timed out",
            "cancelled",
            "cancel refused",
            "retried now",
            "key expired",
            "followed up",
            "locked",
            "not locked in time",
            "child completed",
            "child rolled back",
            "child recalled",
            "reopened",
            "released",
        ] {
            assert!(seen.get(what).copied().unwrap_or(0) > 20, "{what} was hardly ever seen: {seen:?}");
        }
        for (from, event, to) in TRANSITIONS {
            let taken = moves.contains(&(format!("{from:?}"), format!("{to:?}")));
            assert!(taken, "no saga ever went from {from:?} by {event:?} to {to:?}");
        }
    }
}

struct Run {
    rng: Rng,
    plan: Plan,
    limits: Limits,
    state: SagaState,
    durable: Vec<Vec<Record>>,
    turn: Vec<Record>,
    now: Timestamp,
    /// Effects that stand in the world, by step.
    standing: BTreeSet<usize>,
    /// Effects on their way, by step: when they happen.
    late: BTreeMap<usize, Timestamp>,
    /// Steps for which some attempt began that is not proven to have had no effect.
    owed: BTreeSet<usize>,
    decisions: u32,
    /// Messages so far.
    told: u32,
    /// Whether the children that have ended were done.
    children: BTreeMap<usize, bool>,
    seen: Vec<&'static str>,
    /// The moves that steps have made, from phase to phase.
    moves: BTreeSet<(String, String)>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = loop {
            if let Ok(plan) = Plan::new(random_steps(&mut rng), Vec::new()) {
                let deadline = (rng.u8(0..4) == 0).then(|| Duration::from_micros(rng.u64(0..400)));
                break plan.with_deadline(deadline);
            }
        };
        let input = Payload::from_json("1".to_owned()).unwrap();
        let mut limits = Limits::default();
        limits.crashes_max = rng.u32(2..5);
        // What can be undone at any time may be somebody's child.
        let child = plan.point_of_no_return().is_none() && rng.u8(0..3) == 0;
        let parent = child.then(|| Parent { definition: "p".to_owned(), key: "k".to_owned(), step: "s".into() });
        let started = Record::Started { input, parent };
        let state = SagaState::started(&plan, &started, STARTED_AT).unwrap();
        Self {
            rng,
            plan,
            limits,
            state,
            durable: Vec::new(),
            turn: vec![started],
            now: STARTED_AT,
            standing: BTreeSet::new(),
            late: BTreeMap::new(),
            owed: BTreeSet::new(),
            decisions: 0,
            told: 0,
            children: BTreeMap::new(),
            seen: Vec::new(),
            moves: BTreeSet::new(),
        }
    }

    fn drive(mut self) -> (Vec<&'static str>, BTreeSet<(String, String)>) {
        for _ in 0..5_000 {
            let Some((attempts, wake_at)) = self.settle() else {
                self.append();
                self.check_end();
                return (std::mem::take(&mut self.seen), std::mem::take(&mut self.moves));
            };
            if !self.turn.is_empty() && self.rng.u8(..) < 6 {
                // The turn never became durable: nothing that it holds may be in the world.
                self.seen.push("crash before an append");
                self.crash();
                continue;
            }
            self.append();
            match self.rng.u8(..) {
                0..3 => self.tell(Mail::Cancel { actor: "ann".to_owned(), reason: "why not".to_owned() }),
                20..30 if self.state.parent().is_some() => _ = self.hear(),
                3..12 => self.tell(Mail::Signal { name: "s".to_owned(), payload: payload() }),
                _ => {}
            }
            if !self.turn.is_empty() {
                continue;
            }
            if self.rng.u8(..) < 12 {
                self.crash();
            } else if attempts.is_empty() {
                self.wait(wake_at);
            } else {
                let took = Duration::from_micros(self.rng.u64(0..20));
                self.pass(took);
                let attempt = attempts[self.rng.usize(..attempts.len())];
                let report = self.attempt(attempt);
                let record = self.state.report(&self.plan, attempt, report, self.moment());
                self.apply(record);
            }
        }
        panic!("the saga does not end: {:?}", self.state);
    }

    fn moment(&self) -> Moment<'static> {
        // One set of limits for the whole run.
        let limits: &'static Limits = Box::leak(Box::new(self.limits.clone()));
        Moment { now: self.now, chance: 0.5, limits }
    }

    /// Applies what follows. None when the saga has ended.
    fn settle(&mut self) -> Option<(Vec<Attempt>, Option<Timestamp>)> {
        loop {
            match self.state.next(&self.plan, self.now) {
                Next::Append(record) => self.apply(record),
                // The input does not decode, now and then: the engine calls a human.
                Next::Begin { step, op } if self.rng.u8(0..60) == 0 => {
                    let op = match op {
                        Op::Probe if matches!(self.state.direction(), Direction::Backward | Direction::RolledBack) => {
                            Op::Compensate
                        }
                        Op::Probe | Op::Run => Op::Run,
                        Op::Compensate => Op::Compensate,
                    };
                    self.apply(Record::NeedsAttention {
                        step: Some(self.state.steps()[step].name().clone()),
                        op,
                        reason: AttentionReason::Undecodable,
                        error: "as drawn".to_owned(),
                    });
                }
                Next::Begin { step, op } => {
                    let record = self.state.intent(&self.plan, step, op, Digest::of_text("input"), self.now);
                    self.check_begin(step, op);
                    if op == Op::Probe && self.state.steps()[step].phase() == Phase::Waiting {
                        self.seen.push("asked before another attempt");
                    }
                    self.apply(record);
                }
                Next::Evaluate { step } => {
                    let name = self.state.steps()[step].name().clone();
                    let each = self.state.planned(&self.plan, step).each.is_some();
                    let record = match self.state.planned(&self.plan, step).kind {
                        _ if each => {
                            self.seen.push("fanned out");
                            Record::FannedOut { step: name, items: self.rng.u32(0..4) }
                        }
                        Kind::Publish => Record::Done { step: name, output: Payload::null() },
                        Kind::Lock => {
                            let until = self.now.after(self.rng_micros(300));
                            Record::Locking { step: name, keys: vec!["k".to_owned()], until }
                        }
                        Kind::Child => Record::Delegated { step: name, child: SagaId::new() },
                        Kind::When => {
                            let taken = Payload::from_json(self.rng.bool().to_string()).unwrap();
                            Record::Done { step: name, output: taken }
                        }
                        _ => {
                            let until = self.now.after(self.rng_micros(300));
                            let forever = self.state.planned(&self.plan, step).signal.is_some() && self.rng.bool();
                            Record::Sleeping { step: name, until: (!forever).then_some(until) }
                        }
                    };
                    assert_eq!(self.state.steps()[step].phase(), Phase::Pending);
                    self.check_begin(step, Op::Run);
                    self.apply(record);
                }
                Next::FollowUp => {
                    for signal in self.state.untaken_signals().to_vec() {
                        self.apply(Record::FollowedUp { id: signal.id, by: SagaId::new() });
                    }
                }
                Next::Wait { attempts, wake_at } => return Some((attempts, wake_at)),
                Next::Ended => return None,
            }
        }
    }

    fn rng_micros(&mut self, max: u64) -> Duration {
        Duration::from_micros(self.rng.u64(0..max))
    }

    fn apply(&mut self, record: Record) {
        self.note(&record);
        let before = self.state.clone();
        self.state.apply(&self.plan, &record).unwrap_or_else(|error| panic!("{error}: {record:?} on {before:?}"));
        for (was, is) in before.steps().iter().zip(self.state.steps()) {
            if was.phase() != is.phase() {
                self.moves.insert((format!("{:?}", was.phase()), format!("{:?}", is.phase())));
            }
        }
        // What came late takes the saga out of its end, and nothing else does.
        let asked = matches!(
            record,
            Record::Watched { .. }
                | Record::Failed { op: Op::Probe, .. }
                | Record::Interrupted { op: Op::Probe, .. }
                | Record::NeedsAttention { op: Op::Compensate, .. }
        );
        // The direction is monotonic: forward, then committed or back, then over.
        let order = |direction| match direction {
            Direction::Forward => 0,
            Direction::Committed | Direction::Backward => 1,
            Direction::Completed | Direction::RolledBack => 2,
        };
        let (was, is) = (before.direction(), self.state.direction());
        let late = asked && (was, is) == (Direction::RolledBack, Direction::Backward);
        let wanted = record == Record::Reopened && (was, is) == (Direction::Completed, Direction::Backward);
        let reopened = late || wanted;
        assert!(is == was || order(is) > order(was) || reopened, "{was:?} to {is:?}");
        assert!(!(was == Direction::Committed && is == Direction::RolledBack), "back past the pivot");
        self.turn.push(record);
    }

    fn kind_of(&self, step: &StepName) -> Kind {
        self.state.planned(&self.plan, self.index(step)).kind
    }

    fn index(&self, step: &StepName) -> usize {
        self.state.find(step).unwrap()
    }

    fn append(&mut self) {
        if self.turn.is_empty() {
            return;
        }
        self.durable.push(std::mem::take(&mut self.turn));
        self.state.turn_written();
        let replayed = SagaState::replay(&self.plan, &self.durable, STARTED_AT).unwrap();
        assert_eq!(replayed, self.state, "replay equals live");
    }

    /// The worker dies: what is not durable is gone, what is under way may still land.
    fn crash(&mut self) {
        self.seen.push("crash");
        for record in std::mem::take(&mut self.turn) {
            // Whoever did it by hand sees that nobody took note of it, and takes it back.
            if let Record::Resolved { step: Some(step), resolution: Resolution::Supply(_), .. } = record {
                let index = self.index(&step);
                self.standing.remove(&index);
            }
        }
        if self.durable.is_empty() {
            let started = Record::Started { input: self.state.input().clone(), parent: self.state.parent().cloned() };
            self.state = SagaState::started(&self.plan, &started, STARTED_AT).unwrap();
            self.turn.push(started);
            self.owed.clear();
            return;
        }
        self.state = SagaState::replay(&self.plan, &self.durable, STARTED_AT).unwrap();
        for index in 0..self.state.steps().len() {
            match self.state.steps()[index].in_flight() {
                Some(Op::Run) => self.land(index),
                Some(Op::Compensate) => {
                    if self.rng.bool() {
                        self.standing.remove(&index);
                    }
                }
                Some(Op::Probe) | None => {}
            }
        }
        self.owed = self.owed_by_the_books();
        for record in self.state.interrupt(&self.plan, true, self.moment()) {
            self.apply(record);
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the plan: {:#?}", self.plan.steps());
            self.durable.iter().for_each(|turn| eprintln!("durable: {turn:?}"));
            eprintln!("not yet durable: {:?}\nstanding: {:?}, late: {:?}", self.turn, self.standing, self.late);
        }
    }
}

fn payload() -> Payload {
    Payload::from_json("2".to_owned()).unwrap()
}
