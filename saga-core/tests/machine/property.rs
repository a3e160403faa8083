//! The machine driven through random definitions, random outcomes and crashes after any record, in a
//! world that remembers what really happened.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::Duration;

use fastrand::Rng;
use saga_core::definition::{Policy, StepPlan};
use saga_core::machine::{
    Attempt, AttentionReason, ChildEnd, Direction, Halt, Mail, Moment, Next, Parent, Phase, ProbeAnswer, Record,
    Report, Resolution, SagaState, TRANSITIONS,
};
use saga_core::{
    Class, Digest, Effect, Fault, Kind, Limits, Op, Payload, Plan, RetryPolicy, SagaId, StepName, Timestamp,
};

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

    fn tell(&mut self, mail: Mail) {
        self.told += 1;
        let id = format!("m{}", self.told);
        let record = self.state.receive(&id, mail);
        self.apply(record);
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

    /// What others tell the saga, if something is to be heard from them.
    fn hear(&mut self) -> bool {
        let mut mails = Vec::new();
        if self.state.is_retained() {
            mails.push((None, Mail::Release));
        }
        if self.state.is_retained() || self.state.parent().is_some() && !self.state.direction().is_end() {
            mails.push((None, Mail::Recall));
        }
        for (index, step) in self.state.steps().iter().enumerate() {
            let name = step.name().clone();
            let fault = Fault { class: Class::Terminal, effect: Effect::Unknown, message: "as drawn".to_owned() };
            let rolled_back = Mail::ChildEnded { step: name.clone(), end: ChildEnd::RolledBack(fault) };
            match step.phase() {
                Phase::Delegated => {
                    // What was said and not heard is said again.
                    let done = *self.children.get(&index).unwrap_or(&self.rng.bool());
                    let completed = Mail::ChildEnded { step: name, end: ChildEnd::Completed(payload()) };
                    mails.push((Some(index), if done { completed } else { rolled_back }));
                }
                Phase::Recalling => mails.push((Some(index), rolled_back)),
                Phase::Waiting if self.state.planned(&self.plan, index).kind == Kind::Lock => {
                    mails.push((None, Mail::Locked { step: name, tokens: [("k".to_owned(), 1)].into() }));
                }
                _ => {}
            }
        }
        if mails.is_empty() {
            return false;
        }
        let (child, mail) = mails.swap_remove(self.rng.usize(..mails.len()));
        match (child, &mail) {
            (Some(index), Mail::ChildEnded { end: ChildEnd::Completed(_), .. }) => {
                self.seen.push("child completed");
                self.children.insert(index, true);
                self.standing.insert(index);
            }
            (Some(index), _) => {
                self.seen.push("child rolled back");
                self.children.insert(index, false);
                self.standing.remove(&index);
                self.owed.remove(&index);
            }
            (None, _) => {}
        }
        self.tell(mail);
        true
    }

    fn index(&self, step: &StepName) -> usize {
        self.state.find(step).unwrap()
    }

    /// Keeps the books, independently of the machine.
    fn note(&mut self, record: &Record) {
        match record {
            Record::Begun { step, op: Op::Run, attempt, generation, .. } => {
                let index = self.index(step);
                self.check_key(index, *attempt, *generation);
                if self.state.planned(&self.plan, index).kind.has_effect() {
                    self.owed.insert(index);
                }
            }
            Record::Begun { op: Op::Compensate, attempt, .. } if *attempt > 1 => self.seen.push("compensation retried"),
            Record::Compensated { step, .. } => {
                let index = self.index(step);
                if self.state.steps()[index].output().is_none() {
                    self.seen.push("unknown step compensated");
                }
                self.owed.remove(&index);
            }
            Record::Probed { step, answer } => {
                let index = self.index(step);
                match answer {
                    ProbeAnswer::Applied(_) => self.seen.push("probe applied"),
                    ProbeAnswer::NotApplied => {
                        if self.state.planned(&self.plan, index).kind == Kind::Pivot {
                            self.seen.push("pivot disproved");
                        }
                        self.seen.push("probe not applied");
                        self.owed.remove(&index);
                    }
                    ProbeAnswer::Unknown => self.seen.push("probe unknown"),
                }
            }
            Record::SoftFailed { .. } => self.seen.push("soft failure"),
            Record::FollowedUp { .. } => self.seen.push("followed up"),
            Record::Recalled { .. } => self.seen.push("child recalled"),
            Record::Reopened => self.seen.push("reopened"),
            Record::Released => self.seen.push("released"),
            Record::Delegated { step, .. } => {
                self.owed.insert(self.index(step));
            }
            Record::Failed { step, .. } if self.kind_of(step) == Kind::Lock => self.seen.push("not locked in time"),
            Record::Done { step, .. } if self.kind_of(step) == Kind::Lock => self.seen.push("locked"),
            // Whether the effect came late could not be found out: a human may have it compensated again.
            Record::Failed { step, op: Op::Probe, retry_at: None, .. }
            | Record::Interrupted { step, op: Op::Probe, retry_at: None, .. } => {
                self.owed.insert(self.index(step));
            }
            Record::Halted { cause } => {
                self.seen.push(if *cause == Halt::Deadline { "halted" } else { "cancelled" });
            }
            Record::CancelRefused { .. } => self.seen.push("cancel refused"),
            Record::RetriedNow { .. } => self.seen.push("retried now"),
            Record::Done { step, output } if self.state.planned(&self.plan, self.index(step)).signal.is_some() => {
                let taken = output.as_json() != "null";
                self.seen.push(if taken { "signal taken" } else { "signal timed out" });
            }
            Record::Watched { step, answer: ProbeAnswer::Applied(_), .. } => {
                self.seen.push("late effect");
                self.owed.insert(self.index(step));
            }
            Record::NeedsAttention { step, op, reason, .. } => {
                self.seen.push("human called");
                if let (Some(step), Op::Compensate) = (step, op) {
                    self.owed.insert(self.index(step));
                }
                if *reason == AttentionReason::KeyExpired {
                    self.seen.push("key expired");
                }
                if *reason == AttentionReason::Poison {
                    self.seen.push("poison");
                }
            }
            _ => {}
        }
    }

    /// S06: one key for each generation; a new one only with the proof that the old one did nothing, and
    /// an old one never sent again where it would be answered with its old failure, or is forgotten.
    fn check_key(&mut self, index: usize, attempt: u32, generation: u32) {
        let (known, planned) = (&self.state.steps()[index], self.state.planned(&self.plan, index));
        let mut doubt = false;
        for record in self.durable.iter().flatten().chain(&self.turn) {
            match record {
                Record::Failed { step, op: Op::Run, fault, .. } if self.index(step) == index => {
                    doubt |= fault.effect == Effect::Unknown;
                }
                Record::Interrupted { step, op: Op::Run, .. } if self.index(step) == index => doubt = true,
                Record::Probed { step, answer: ProbeAnswer::NotApplied }
                | Record::Resolved { step: Some(step), resolution: Resolution::NotApplied, .. }
                    if self.index(step) == index =>
                {
                    doubt = false;
                }
                _ => {}
            }
        }
        doubt &= planned.kind.has_effect();
        if generation != known.generation() {
            assert_eq!(generation, known.generation() + 1);
            assert!(!doubt, "a new key without proof");
            self.seen.push("a new key");
        } else if attempt > 1 {
            assert!(!planned.replays_errors, "a key whose failure is replayed was sent again");
            let forgotten =
                known.keyed_at().zip(planned.run.key_horizon).is_some_and(|(at, h)| at.after(h) <= self.now);
            assert!(!(forgotten && doubt), "a key was sent again that may be forgotten");
        }
    }

    /// Promises 4 and 5, where an operation begins.
    fn check_begin(&self, step: usize, op: Op) {
        let phase = |index: usize| self.state.steps()[index].phase();
        let gone_by = |index: usize| {
            matches!(phase(index), Phase::Done | Phase::SoftFailed | Phase::Skipped)
                || self.state.is_passed_over(&self.plan, index)
        };
        assert!(!self.state.is_passed_over(&self.plan, step), "a step began that its guard passes over");
        match op {
            Op::Run => {
                assert_ne!(self.state.direction(), Direction::Backward, "a step began on the way back");
                let halted = self.state.halted().is_some() && self.state.direction() == Direction::Forward;
                let in_doubt = self.state.planned(&self.plan, step).kind == Kind::Pivot
                    && self.state.steps()[step].maybe_applied();
                assert!(!halted || in_doubt, "a step began though the saga is to turn back");
                let planned = self.state.planned(&self.plan, step);
                assert!(planned.after.iter().all(|&before| gone_by(before)), "too early");
                if self.state.steps()[step].item().is_some() {
                    let origin = self.state.origin(step);
                    assert_eq!(phase(origin), Phase::Open, "an item began before its list was there");
                    let running = self.state.items(origin).filter(|item| item.phase() == Phase::Running).count();
                    assert!(running < planned.each.unwrap().get(), "more items at once than asked for");
                }
            }
            Op::Probe if self.state.direction() == Direction::RolledBack => assert_eq!(phase(step), Phase::Undone),
            Op::Probe if phase(step) == Phase::Waiting => {}
            Op::Probe => assert!(matches!(phase(step), Phase::Unknown | Phase::ProbeWaiting)),
            Op::Compensate => {
                assert_eq!(self.state.direction(), Direction::Backward);
                assert!(self.owed.contains(&step), "compensates what never began");
                for other in 0..self.state.steps().len() {
                    assert_ne!(phase(other), Phase::Running, "a step is still in flight");
                    let undone_first = self.plan.is_before(self.state.origin(step), self.state.origin(other))
                        && self.state.is_owed(&self.plan, other);
                    assert!(!undone_first, "out of order");
                }
            }
        }
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

    /// What the durable records say is owed: begun, and neither compensated nor disproved since.
    fn owed_by_the_books(&self) -> BTreeSet<usize> {
        let mut owed = BTreeSet::new();
        for record in self.durable.iter().flatten() {
            match record {
                Record::Begun { step, op: Op::Run, .. }
                    if self.state.planned(&self.plan, self.index(step)).kind.has_effect() =>
                {
                    owed.insert(self.index(step));
                }
                Record::Resolved { step: Some(step), resolution: Resolution::Supply(_), .. }
                | Record::Watched { step, answer: ProbeAnswer::Applied(_), .. }
                | Record::Failed { step, op: Op::Probe, retry_at: None, .. }
                | Record::Interrupted { step, op: Op::Probe, retry_at: None, .. }
                | Record::NeedsAttention { step: Some(step), op: Op::Compensate, .. } => {
                    owed.insert(self.index(step));
                }
                Record::Compensated { step, .. }
                | Record::Probed { step, answer: ProbeAnswer::NotApplied }
                | Record::Resolved { step: Some(step), resolution: Resolution::NotApplied, .. } => {
                    owed.remove(&self.index(step));
                }
                _ => {}
            }
        }
        owed
    }

    /// The effect of an attempt of which nobody knows happens, or not; or it is still on its way, where
    /// the participant does not refuse what comes late.
    fn land(&mut self, index: usize) {
        // The same key, once.
        if !self.state.planned(&self.plan, index).kind.has_effect() || self.standing.contains(&index) {
            return;
        }
        if self.rng.bool() {
            self.late.remove(&index);
            self.standing.insert(index);
        } else if self.state.planned(&self.plan, index).watch.is_some() && self.rng.bool() {
            let after = if self.rng.bool() { Duration::from_micros(self.rng.u64(0..200)) } else { self.lateness() };
            self.late.insert(index, self.now.after(after));
        }
    }

    fn lateness(&mut self) -> Duration {
        WATCH.mul_f64(self.rng.f64())
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        let landed: Vec<usize> = self.late.iter().filter(|(_, at)| **at <= self.now).map(|(index, _)| *index).collect();
        for index in landed {
            self.late.remove(&index);
            self.standing.insert(index);
        }
    }

    fn attempt(&mut self, attempt: Attempt) -> Report {
        match attempt.op {
            Op::Run => self.run_step(attempt.step),
            Op::Probe => match self.rng.u8(0..4) {
                0 => self.failed(Class::Transient, Effect::Unknown),
                // Whoever is asked about a late effect knows what has come so far.
                1 if self.state.direction() != Direction::RolledBack => Report::Probed(ProbeAnswer::Unknown),
                _ if self.standing.contains(&attempt.step) => Report::Probed(ProbeAnswer::Applied(payload())),
                _ if self.late.contains_key(&attempt.step) => Report::Probed(ProbeAnswer::Unknown),
                _ => Report::Probed(ProbeAnswer::NotApplied),
            },
            Op::Compensate => {
                if self.rng.u8(0..4) > 0 {
                    self.standing.remove(&attempt.step);
                    return Report::Compensated;
                }
                if self.rng.bool() {
                    self.standing.remove(&attempt.step);
                }
                let class = if self.rng.u8(0..6) == 0 { Class::Terminal } else { Class::Transient };
                self.failed(class, Effect::Unknown)
            }
        }
    }

    fn run_step(&mut self, index: usize) -> Report {
        let has_effect = self.state.planned(&self.plan, index).kind.has_effect();
        match self.rng.u8(0..10) {
            0 => self.failed(Class::Transient, Effect::NotApplied),
            1 => self.failed(Class::Terminal, Effect::NotApplied),
            2 => {
                self.land(index);
                self.failed(Class::Transient, Effect::Unknown)
            }
            3 => {
                self.land(index);
                self.failed(Class::Terminal, Effect::Unknown)
            }
            _ => {
                if has_effect {
                    self.standing.insert(index);
                }
                // The same key, once.
                self.late.remove(&index);
                Report::Done(payload())
            }
        }
    }

    fn failed(&mut self, class: Class, effect: Effect) -> Report {
        Report::Failed { fault: Fault { class, effect, message: "as drawn".to_owned() }, retry_after: None }
    }

    /// Nothing is under way: time goes on, or a human decides. There is no third way to wait.
    fn wait(&mut self, wake_at: Option<Timestamp>) {
        let blocked: Vec<usize> =
            (0..self.state.steps().len()).filter(|&index| self.state.steps()[index].blocked().is_some()).collect();
        let waits = |step: &saga_core::machine::StepState| step.phase() == Phase::Waiting && step.due().is_none();
        if wake_at.is_none() && blocked.is_empty() && self.state.steps().iter().any(waits) {
            return self.tell(Mail::Signal { name: "s".to_owned(), payload: payload() });
        }
        if self.state.is_put_off() && self.rng.u8(..) < 40 {
            return self.tell(Mail::RetryNow { actor: "ann".to_owned(), reason: "it is back".to_owned() });
        }
        if (wake_at.is_none() || self.rng.bool()) && (blocked.is_empty() || self.rng.bool()) && self.hear() {
            return;
        }
        if let Some(due) = wake_at.filter(|_| blocked.is_empty() || self.rng.bool()) {
            assert!(due > self.now, "woken for nothing");
            self.pass(due.since(self.now));
            return;
        }
        assert!(!blocked.is_empty(), "stuck: {:?}", self.state);
        let index = blocked[self.rng.usize(..blocked.len())];
        self.decide(index);
    }

    /// A human decides truthfully: looks at the world, and does by hand what the decision says.
    fn decide(&mut self, index: usize) {
        self.decisions += 1;
        let name = self.state.steps()[index].name().clone();
        let op = self.state.steps()[index].blocked().unwrap();
        let mut choices = vec![Resolution::Retry, Resolution::Probe, Resolution::Skip, Resolution::Supply(payload())];
        if op == Op::Compensate || !self.standing.contains(&index) && !self.late.contains_key(&index) {
            choices.push(Resolution::NotApplied);
        }
        let resolution = loop {
            let choice = choices[self.rng.usize(..choices.len())].clone();
            let tried = self.state.resolve_by_hand(&self.plan, &name, choice.clone(), "ann", "looked");
            if let Ok(record) = tried {
                self.apply(record);
                break choice;
            }
        };
        match (op, resolution) {
            (Op::Compensate, Resolution::Skip | Resolution::NotApplied) => {
                self.seen.push("skipped");
                self.standing.remove(&index);
                self.late.remove(&index);
                self.owed.remove(&index);
            }
            (_, Resolution::Supply(_)) => {
                self.seen.push("supplied");
                self.late.remove(&index);
                self.standing.insert(index);
                self.owed.insert(index);
            }
            (_, Resolution::NotApplied) => {
                self.owed.remove(&index);
            }
            (_, Resolution::Skip) => self.seen.push("skipped"),
            (_, Resolution::Retry | Resolution::Probe) => {}
        }
    }

    /// Promises 5 to 7, where the saga ends.
    fn check_end(&mut self) {
        assert!(!self.state.needs_attention(), "an end with something open");
        // Promise 10: what was signalled was taken once, or is still there.
        let came = self.durable.iter().flatten().filter(|record| matches!(record, Record::Signalled { .. })).count();
        let took = |(index, step): (usize, &saga_core::machine::StepState)| {
            let waited = self.state.planned(&self.plan, index).signal.is_some();
            waited && step.output().is_some_and(|output| output.as_json() != "null")
        };
        let taken = self.state.steps().iter().enumerate().filter(|step| took(*step)).count();
        let supplied = self.durable.iter().flatten().filter(|record| {
            matches!(record, Record::Resolved { step: Some(step), resolution: Resolution::Supply(_), .. }
                if self.state.planned(&self.plan, self.index(step)).signal.is_some())
        });
        let followed = |record: &&Record| matches!(record, Record::FollowedUp { .. });
        let followed = self.durable.iter().flatten().filter(followed).count();
        assert!(self.state.untaken_signals().is_empty(), "a signal that nobody sees to");
        assert_eq!(came, taken - supplied.count() + followed, "a signal is lost or doubled");
        let recalled = self
            .durable
            .iter()
            .flatten()
            .any(|record| matches!(record, Record::Halted { cause: Halt::Recalled } | Record::Reopened));
        match self.state.direction() {
            Direction::Completed => {
                assert!(!recalled, "a child that was to be undone is done");
                self.seen.push("completed");
                for index in 0..self.state.steps().len() {
                    let (step, phase) = (self.state.planned(&self.plan, index), self.state.steps()[index].phase());
                    match step.kind {
                        _ if self.state.is_passed_over(&self.plan, index) => {
                            assert_eq!(phase, Phase::Pending);
                            self.seen.push("passed over");
                        }
                        Kind::When | Kind::Sleep | Kind::Signal | Kind::Publish | Kind::Lock => {
                            assert!(matches!(phase, Phase::Done | Phase::Skipped))
                        }
                        Kind::Compensatable | Kind::Pivot | Kind::Child => {
                            assert_eq!(phase, Phase::Done, "{}", step.name)
                        }
                        Kind::Query | Kind::Retryable => assert!(matches!(phase, Phase::Done | Phase::Skipped)),
                        Kind::BestEffort => {
                            assert!(matches!(phase, Phase::Done | Phase::SoftFailed | Phase::Skipped));
                        }
                    }
                    let fans_out = step.each.is_some() && self.state.steps()[index].item().is_none();
                    if step.kind.has_effect() && phase == Phase::Done && !fans_out {
                        assert!(self.standing.contains(&index), "{} is done and has no effect", step.name);
                    }
                }
            }
            Direction::RolledBack => {
                self.seen.push("rolled back");
                for index in 0..self.state.steps().len() {
                    let step = self.state.planned(&self.plan, index);
                    if step.compensate.is_some() || step.kind == Kind::Pivot {
                        assert!(!self.standing.contains(&index), "{} still stands", step.name);
                        assert!(!self.late.contains_key(&index), "{} comes too late", step.name);
                    }
                }
            }
            other => panic!("ended while {other:?}"),
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

/// A random series-parallel definition: stages of one to three branches of one or two steps.
fn random_steps(rng: &mut Rng) -> Vec<StepPlan> {
    let mut steps: Vec<StepPlan> = Vec::new();
    let mut frontier: Vec<usize> = Vec::new();
    let stages = rng.usize(1..6);
    let pivot = rng.bool().then(|| rng.usize(..stages));
    for stage in 0..stages {
        let guard = (rng.u8(0..4) == 0).then(|| {
            let index = steps.len();
            steps.push(random_step(rng, index, Kind::When, frontier.clone()));
            frontier = vec![index];
            index
        });
        let branches = if Some(stage) == pivot { 1 } else { rng.usize(1..4) };
        let mut ends = Vec::new();
        for _ in 0..branches {
            let mut after = frontier.clone();
            let length = if Some(stage) == pivot { 1 } else { rng.usize(1..3) };
            for _ in 0..length {
                let kind = random_kind(rng, stage, pivot);
                let index = steps.len();
                let once = [Kind::Pivot, Kind::Sleep, Kind::Signal, Kind::Publish, Kind::Lock, Kind::Child];
                let each = once.contains(&kind) || rng.u8(0..4) > 0;
                let each = if each { None } else { NonZeroUsize::new(rng.usize(1..3)) };
                steps.push(StepPlan { guard, each, ..random_step(rng, index, kind, after) });
                after = vec![index];
            }
            ends.extend(after);
        }
        frontier = ends;
    }
    steps
}

fn random_kind(rng: &mut Rng, stage: usize, pivot: Option<usize>) -> Kind {
    match pivot {
        Some(pivot) if stage == pivot => Kind::Pivot,
        Some(pivot) if stage > pivot => {
            [Kind::Retryable, Kind::Query, Kind::BestEffort, Kind::Sleep, Kind::Signal, Kind::Publish, Kind::Lock]
                [rng.usize(..7)]
        }
        _ => [
            Kind::Compensatable,
            Kind::Compensatable,
            Kind::Query,
            Kind::BestEffort,
            Kind::Sleep,
            Kind::Signal,
            Kind::Publish,
            Kind::Lock,
            Kind::Child,
        ][rng.usize(..9)],
    }
}

fn random_step(rng: &mut Rng, index: usize, kind: Kind, after: Vec<usize>) -> StepPlan {
    let mut policy = || {
        // Policies count milliseconds: most attempts follow at once, some are put off.
        let pause = Duration::from_millis(u64::from(index.is_multiple_of(4)));
        let retry = RetryPolicy::fixed(pause).attempts(rng.u32(1..4));
        let retry = if rng.u8(0..6) == 0 { retry.within(Duration::from_millis(1)) } else { retry };
        let key_horizon = (rng.u8(0..6) == 0).then(|| Duration::from_micros(rng.u64(1..60)));
        Policy { key_horizon, ..Policy::new(retry, Duration::from_secs(1)) }
    };
    let run = policy();
    let compensate = match kind {
        Kind::Compensatable | Kind::Child => Some(policy()),
        Kind::BestEffort if index.is_multiple_of(2) => Some(policy()),
        Kind::Query
        | Kind::Pivot
        | Kind::Retryable
        | Kind::BestEffort
        | Kind::When
        | Kind::Sleep
        | Kind::Signal
        | Kind::Publish
        | Kind::Lock => None,
    };
    let replays_errors = rng.u8(0..6) == 0;
    let watch = (kind == Kind::Compensatable && rng.bool()).then_some(WATCH);
    let name = format!("s{index}");
    let signal = (kind == Kind::Signal).then(|| "s".into());
    StepPlan { compensate, replays_errors, watch, signal, ..StepPlan::new(name.as_str(), kind, after, run) }
}
