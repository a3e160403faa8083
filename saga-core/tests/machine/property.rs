//! The machine driven through random definitions, random outcomes and crashes after any record, in a
//! world that remembers what really happened.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use saga_core::definition::{Policy, StepPlan};
use saga_core::machine::{
    Attempt, AttentionReason, Direction, Moment, Next, Phase, ProbeAnswer, Record, Report, Resolution, SagaState,
    TRANSITIONS,
};
use saga_core::{Class, Digest, Effect, Fault, Kind, Limits, Op, Payload, Plan, RetryPolicy, StepName, Timestamp};

/// How many sagas are driven; each from its own seed.
const SEEDS: u64 = 20_000;

#[test]
fn no_saga_breaks_a_promise_whatever_happens_to_it() {
    let only = std::env::var("SAGA_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut seen = BTreeMap::new();
    let mut moves = BTreeSet::new();
    for seed in only.map_or(0..SEEDS, |seed: u64| seed..seed + 1) {
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
    /// Steps for which some attempt began that is not proven to have had no effect.
    owed: BTreeSet<usize>,
    decisions: u32,
    seen: Vec<&'static str>,
    /// The moves that steps have made, from phase to phase.
    moves: BTreeSet<(String, String)>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = loop {
            if let Ok(plan) = Plan::new(random_steps(&mut rng), Vec::new()) {
                break plan;
            }
        };
        let input = Payload::from_json("1".to_owned()).unwrap();
        let mut limits = Limits::default();
        limits.crashes_max = rng.u32(2..5);
        let state = SagaState::new(&plan, input.clone());
        Self {
            rng,
            plan,
            limits,
            state,
            durable: Vec::new(),
            turn: vec![Record::Started { input }],
            now: Timestamp::from_micros(1),
            standing: BTreeSet::new(),
            owed: BTreeSet::new(),
            decisions: 0,
            seen: Vec::new(),
            moves: BTreeSet::new(),
        }
    }

    fn drive(mut self) -> (Vec<&'static str>, BTreeSet<(String, String)>) {
        for _ in 0..5_000 {
            let Some(attempts) = self.settle() else {
                self.append();
                self.check_end();
                return (self.seen, self.moves);
            };
            if !self.turn.is_empty() && self.rng.u8(..) < 6 {
                // The turn never became durable: nothing that it holds may be in the world.
                self.seen.push("crash before an append");
                self.crash();
                continue;
            }
            self.append();
            if self.rng.u8(..) < 8 {
                self.crash();
            } else if attempts.is_empty() {
                self.wait();
            } else {
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
    fn settle(&mut self) -> Option<Vec<Attempt>> {
        loop {
            match self.state.next(&self.plan, self.now) {
                Next::Append(record) => self.apply(record),
                // The input does not decode, now and then: the engine calls a human.
                Next::Begin { step, op } if self.rng.u8(0..60) == 0 => {
                    let op = match op {
                        Op::Probe if self.state.direction() == Direction::Backward => Op::Compensate,
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
                    let known = &self.state.steps()[step];
                    let record = Record::Begun {
                        step: known.name().clone(),
                        op,
                        attempt: known.tally(op).attempts + 1,
                        input: Digest::of_text("input"),
                    };
                    self.check_begin(step, op);
                    self.apply(record);
                }
                Next::Wait { attempts, .. } => return Some(attempts),
                Next::Ended => return None,
            }
        }
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
        // The direction is monotonic: forward, then committed or back, then over.
        let order = |direction| match direction {
            Direction::Forward => 0,
            Direction::Committed | Direction::Backward => 1,
            Direction::Completed | Direction::RolledBack => 2,
        };
        let (was, is) = (before.direction(), self.state.direction());
        assert!(is == was || order(is) > order(was), "{was:?} to {is:?}");
        assert!(!(was == Direction::Committed && is == Direction::RolledBack), "back past the pivot");
        self.turn.push(record);
    }

    fn index(&self, step: &StepName) -> usize {
        self.plan.find(step).unwrap()
    }

    /// Keeps the books, independently of the machine.
    fn note(&mut self, record: &Record) {
        match record {
            Record::Begun { step, op: Op::Run, .. } => {
                let index = self.index(step);
                if self.plan.steps()[index].kind != Kind::Query {
                    self.owed.insert(index);
                }
            }
            Record::Begun { op: Op::Compensate, attempt, .. } if *attempt > 1 => self.seen.push("compensation retried"),
            Record::Compensated { step } => {
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
                        if self.plan.steps()[index].kind == Kind::Pivot {
                            self.seen.push("pivot disproved");
                        }
                        self.seen.push("probe not applied");
                        self.owed.remove(&index);
                    }
                    ProbeAnswer::Unknown => self.seen.push("probe unknown"),
                }
            }
            Record::SoftFailed { .. } => self.seen.push("soft failure"),
            Record::NeedsAttention { reason, .. } => {
                self.seen.push("human called");
                if *reason == AttentionReason::Poison {
                    self.seen.push("poison");
                }
            }
            _ => {}
        }
    }

    /// Promises 4 and 5, where an operation begins.
    fn check_begin(&self, step: usize, op: Op) {
        let phase = |index: usize| self.state.steps()[index].phase();
        let gone_by = |index: usize| matches!(phase(index), Phase::Done | Phase::SoftFailed | Phase::Skipped);
        match op {
            Op::Run => {
                assert_ne!(self.state.direction(), Direction::Backward, "a step began on the way back");
                assert!(self.plan.steps()[step].after.iter().all(|&before| gone_by(before)), "too early");
            }
            Op::Probe => assert!(matches!(phase(step), Phase::Unknown | Phase::ProbeWaiting)),
            Op::Compensate => {
                assert_eq!(self.state.direction(), Direction::Backward);
                assert!(self.owed.contains(&step), "compensates what never began");
                for other in 0..self.plan.steps().len() {
                    assert_ne!(phase(other), Phase::Running, "a step is still in flight");
                    let undone_first = self.plan.is_before(step, other) && self.state.is_owed(&self.plan, other);
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
        let replayed = SagaState::replay(&self.plan, &self.durable).unwrap();
        assert_eq!(replayed, self.state, "replay equals live");
    }

    /// The worker dies: what is not durable is gone, what is under way may still land.
    fn crash(&mut self) {
        self.seen.push("crash");
        self.turn.clear();
        if self.durable.is_empty() {
            let input = self.state.input().clone();
            self.state = SagaState::new(&self.plan, input.clone());
            self.turn.push(Record::Started { input });
            self.owed.clear();
            return;
        }
        self.state = SagaState::replay(&self.plan, &self.durable).unwrap();
        for index in 0..self.plan.steps().len() {
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
                Record::Begun { step, op: Op::Run, .. } if self.plan.steps()[self.index(step)].kind != Kind::Query => {
                    owed.insert(self.index(step));
                }
                Record::Resolved { step: Some(step), resolution: Resolution::Supply(_), .. } => {
                    owed.insert(self.index(step));
                }
                Record::Compensated { step }
                | Record::Probed { step, answer: ProbeAnswer::NotApplied }
                | Record::Resolved { step: Some(step), resolution: Resolution::NotApplied, .. } => {
                    owed.remove(&self.index(step));
                }
                _ => {}
            }
        }
        owed
    }

    /// The effect of an attempt of which nobody knows happens, or not.
    fn land(&mut self, index: usize) {
        if self.plan.steps()[index].kind != Kind::Query && self.rng.bool() {
            self.standing.insert(index);
        }
    }

    fn attempt(&mut self, attempt: Attempt) -> Report {
        match attempt.op {
            Op::Run => self.run_step(attempt.step),
            Op::Probe => match self.rng.u8(0..4) {
                0 => self.failed(Class::Transient, Effect::Unknown),
                1 => Report::Probed(ProbeAnswer::Unknown),
                _ if self.standing.contains(&attempt.step) => Report::Probed(ProbeAnswer::Applied(payload())),
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
        let has_effect = self.plan.steps()[index].kind != Kind::Query;
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
                Report::Done(payload())
            }
        }
    }

    fn failed(&mut self, class: Class, effect: Effect) -> Report {
        Report::Failed { fault: Fault { class, effect, message: "as drawn".to_owned() }, retry_after: None }
    }

    /// Nothing is under way: time goes on, or a human decides. There is no third way to wait.
    fn wait(&mut self) {
        let due = self.state.steps().iter().filter_map(|step| step.due()).min();
        let blocked: Vec<usize> =
            (0..self.plan.steps().len()).filter(|&index| self.state.steps()[index].blocked().is_some()).collect();
        if let Some(due) = due {
            self.now = self.now.max(due);
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
        if op == Op::Compensate || !self.standing.contains(&index) {
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
                self.owed.remove(&index);
            }
            (_, Resolution::Supply(_)) => {
                self.seen.push("supplied");
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
        let steps = self.plan.steps();
        assert!(!self.state.needs_attention(), "an end with something open");
        match self.state.direction() {
            Direction::Completed => {
                self.seen.push("completed");
                for (index, step) in steps.iter().enumerate() {
                    let phase = self.state.steps()[index].phase();
                    match step.kind {
                        Kind::Compensatable | Kind::Pivot => assert_eq!(phase, Phase::Done, "{}", step.name),
                        Kind::Query | Kind::Retryable => assert!(matches!(phase, Phase::Done | Phase::Skipped)),
                        Kind::BestEffort => {
                            assert!(matches!(phase, Phase::Done | Phase::SoftFailed | Phase::Skipped));
                        }
                    }
                    if step.kind != Kind::Query && phase == Phase::Done {
                        assert!(self.standing.contains(&index), "{} is done and has no effect", step.name);
                    }
                }
            }
            Direction::RolledBack => {
                self.seen.push("rolled back");
                for (index, step) in steps.iter().enumerate() {
                    if step.compensate.is_some() || step.kind == Kind::Pivot {
                        assert!(!self.standing.contains(&index), "{} still stands", step.name);
                    }
                }
            }
            other => panic!("ended while {other:?}"),
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
        let branches = if Some(stage) == pivot { 1 } else { rng.usize(1..4) };
        let mut ends = Vec::new();
        for _ in 0..branches {
            let mut after = frontier.clone();
            let length = if Some(stage) == pivot { 1 } else { rng.usize(1..3) };
            for _ in 0..length {
                let kind = random_kind(rng, stage, pivot);
                let index = steps.len();
                steps.push(random_step(rng, index, kind, after));
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
        Some(pivot) if stage > pivot => [Kind::Retryable, Kind::Query, Kind::BestEffort][rng.usize(..3)],
        _ => [Kind::Compensatable, Kind::Compensatable, Kind::Query, Kind::BestEffort][rng.usize(..4)],
    }
}

fn random_step(rng: &mut Rng, index: usize, kind: Kind, after: Vec<usize>) -> StepPlan {
    let mut policy = || Policy {
        retry: RetryPolicy::fixed(Duration::from_micros(10)).attempts(rng.u32(1..4)),
        timeout: Duration::from_secs(1),
    };
    let run = policy();
    let compensate = match kind {
        Kind::Compensatable => Some(policy()),
        Kind::BestEffort if index.is_multiple_of(2) => Some(policy()),
        Kind::Query | Kind::Pivot | Kind::Retryable | Kind::BestEffort => None,
    };
    StepPlan { name: format!("s{index}").as_str().into(), kind, after, reads: Vec::new(), run, compensate }
}
