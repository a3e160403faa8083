//! A simulated world: one journal in memory, processes that end when they are told to, and participants
//! that fail on schedule, all on virtual time. What [`explore`](mod@crate::explore) and
//! [`TestEngine`](crate::TestEngine) stand on.

mod effects;
mod fate;
mod foreign;
mod gate;
mod interceptor;
mod journal;
mod late;
mod life;
mod point;
mod process;
mod publisher;
mod schedule;
mod seed;
mod tape;
mod tell;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use saga_core::definition::Plan;
use saga_core::journal::MemoryJournal;
use saga_core::machine::Record;
use saga_core::{Kind, Op, SagaId, StepContext};
use tokio::sync::Notify;

pub use effects::{Applied, Effect};
pub use fate::Fate;
pub(crate) use foreign::{Foreign, let_go};
pub use gate::Stop;
pub(crate) use interceptor::{CURRENT, SimInterceptor, Who};
pub(crate) use late::LateCall;
pub(crate) use life::Life;
pub use point::Point;
pub(crate) use process::Process;
pub(crate) use publisher::SimPublisher;
pub use schedule::Schedule;
pub use seed::BadSeed;
pub(crate) use tape::{Entry, Tape};
pub(crate) use tell::records as tell_records;

/// The definition whose sagas are simulated, without its types.
#[derive(Clone, Debug)]
pub(crate) struct Cast {
    pub(crate) definition: String,
    pub(crate) plan: Plan,
}

/// A point that a run came to.
#[derive(Clone, Debug)]
pub(crate) struct Visited {
    pub(crate) point: Point,
    /// What could have become of it.
    pub(crate) fates: &'static [Fate],
    /// Whether a saga had turned back by then.
    pub(crate) backward: bool,
}

/// What the journal, the engine's interceptor, the publisher and the user's fakes share.
#[derive(Debug)]
pub(crate) struct Sim {
    pub(crate) store: MemoryJournal,
    pub(crate) foreign: Foreign,
    /// Something was written.
    pub(crate) written: Notify,
    /// There may be events to publish.
    events: Notify,
    pub(crate) gate: gate::Gate,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) cast: Option<Cast>,
    schedule: Schedule,
    /// From now on nothing goes wrong any more.
    healed: bool,
    /// What is on no schedule goes wrong now and then.
    dice: Option<Dice>,
    /// And with events more often than that.
    event_dice: Option<Dice>,
    counts: HashMap<String, u32>,
    pub(crate) visited: Vec<Visited>,
    /// What went wrong, and where.
    pub(crate) fired: Vec<(Point, Fate)>,
    pub(crate) tape: Tape,
    backward: bool,
    pub(crate) effects: effects::Effects,
    late: Vec<LateCall>,
    landing: u32,
    /// Signals that the saga has come to wait for: by name, and whether for a bounded time.
    awaited: Vec<(String, bool)>,
    pub(crate) published: Vec<(SagaId, String)>,
    /// The topic of each event that was published, by the event's id.
    pub(crate) topics: BTreeMap<String, String>,
    /// The message ids of signals that were accepted.
    pub(crate) signalled: Vec<String>,
    process: Arc<Process>,
}

impl Sim {
    pub(crate) fn new(schedule: Schedule, foreign: Foreign) -> Arc<Self> {
        Arc::new(Self {
            store: MemoryJournal::new(),
            foreign,
            written: Notify::new(),
            events: Notify::new(),
            gate: gate::Gate::default(),
            state: Mutex::new(State { schedule, ..State::default() }),
        })
    }

    pub(crate) fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn cast(&self, cast: Cast) {
        self.locked().cast = Some(cast);
    }

    pub(crate) fn note(&self, entry: Entry) {
        self.locked().tape.add(entry);
    }

    /// From now on nothing goes wrong.
    pub(crate) fn heal(&self) {
        self.locked().healed = true;
    }

    /// Has things go wrong by chance, in place of a schedule: about one point in `one_in`, and `most` at most.
    pub(crate) fn gamble(&self, seed: u64, one_in: u32, most: u32) {
        self.locked().dice = Some(Dice { rng: fastrand::Rng::with_seed(seed), one_in, left: most });
    }

    /// As [`Sim::gamble`], for events alone, and beside it.
    pub(crate) fn gamble_on_events(&self, seed: u64, one_in: u32, most: u32) {
        self.locked().event_dice = Some(Dice { rng: fastrand::Rng::with_seed(seed), one_in, left: most });
    }

    /// Has this go wrong as well.
    pub(crate) fn plan(&self, point: Point, fate: Fate) {
        let mut state = self.locked();
        state.schedule = state.schedule.with(point, fate);
    }

    /// The process of the present life.
    pub(crate) fn process(&self) -> Arc<Process> {
        self.locked().process.clone()
    }

    /// A run comes to the point: what becomes of it.
    pub(crate) fn visit(&self, point: Point, fates: &'static [Fate]) -> Option<Fate> {
        self.locked().visit(point, fates)
    }

    /// The run comes to another point like this.
    pub(crate) fn visit_next(&self, kind: &str, name: &str, fates: &'static [Fate]) -> Option<Fate> {
        let mut state = self.locked();
        let nth = state.count(format!("{kind}:{name}"));
        let name = name.to_owned();
        let point = match kind {
            "call" => Point::Call { name, nth },
            "signal" => Point::Signal { name, nth },
            _ => Point::Publish { topic: name, nth },
        };
        state.visit(point, fates)
    }

    pub(crate) fn visit_attempt(&self, who: &Who) -> Option<Fate> {
        let mut state = self.locked();
        let nth = state.count(format!("{}:{}", who.op, who.label));
        let fates = Fate::of_attempt(state.planned(who), who.op);
        state.visit(Point::Attempt { step: who.label.clone(), op: who.op, nth }, fates)
    }

    /// The attempt's name in this simulation.
    pub(crate) fn who(&self, cx: &StepContext) -> Who {
        let label = self.locked().label(cx.definition(), cx.step().as_str());
        Who { saga: cx.saga_id(), label, step: cx.step().to_string(), op: cx.op(), late: false }
    }

    /// Whether this is on the schedule.
    pub(crate) fn is_scheduled(&self, point: &Point, fate: Fate) -> bool {
        self.locked().schedule.fate(point) == Some(fate)
    }

    /// How often something was written.
    pub(crate) fn writes(&self) -> u32 {
        self.locked().counts.get("write").copied().unwrap_or(0)
    }

    /// Takes out what was asked for and not yet sent: the signals that the saga waits for.
    pub(crate) fn take_awaited(&self) -> Vec<(String, bool)> {
        std::mem::take(&mut self.locked().awaited)
    }
}

/// What goes wrong by chance.
#[derive(Debug)]
struct Dice {
    rng: fastrand::Rng,
    one_in: u32,
    left: u32,
}

impl Dice {
    fn roll(&mut self, fates: &[Fate]) -> Option<Fate> {
        if self.left == 0 || self.rng.u32(0..self.one_in) > 0 {
            return None;
        }
        self.left -= 1;
        self.rng.choice(fates.iter().copied())
    }
}

impl State {
    fn count(&mut self, what: String) -> u32 {
        let nth = self.counts.entry(what).or_default();
        *nth += 1;
        *nth
    }

    fn visit(&mut self, point: Point, fates: &'static [Fate]) -> Option<Fate> {
        // What a human has put in order stays so.
        let fates = if self.healed { &[] } else { fates };
        let dice = match point {
            Point::Publish { .. } if self.event_dice.is_some() => &mut self.event_dice,
            _ => &mut self.dice,
        };
        let fate = match dice {
            Some(_) if fates.is_empty() => None,
            Some(dice) => dice.roll(fates),
            None => self.schedule.fate(&point).filter(|fate| fates.contains(fate)),
        };
        if let Some(fate) = fate {
            self.fired.push((point.clone(), fate));
            if !fate.is_crash() {
                self.tape.add(Entry::fault(format!("{}: {}", tell::point(&point), fate.meaning())));
            }
        }
        self.visited.push(Visited { point, fates, backward: self.backward });
        fate
    }

    /// A step's name, with its definition in front when that is another one's.
    pub(crate) fn label(&self, definition: &str, step: &str) -> String {
        match &self.cast {
            Some(cast) if cast.definition != definition => format!("{definition}/{step}"),
            Some(_) | None => step.to_owned(),
        }
    }

    fn planned(&self, who: &Who) -> Option<&saga_core::definition::StepPlan> {
        self.cast.as_ref()?.planned(&who.label)
    }

    /// A turn is about to be written: notes what it means for what comes next.
    pub(crate) fn comes(&mut self, records: &[Record]) {
        let turns = |record: &Record| matches!(record, Record::TurnedBack { .. } | Record::Halted { .. });
        self.backward |= records.iter().any(turns);
    }

    /// A turn was written: notes what the saga waits for.
    pub(crate) fn came(&mut self, records: &[Record]) {
        for record in records {
            let Record::Sleeping { step, until } = record else { continue };
            let planned = self.cast.as_ref().and_then(|cast| cast.planned(step.as_str()));
            if let Some(signal) = planned.and_then(|planned| planned.signal.clone()) {
                self.awaited.push((signal.to_string(), until.is_some()));
            }
        }
    }
}

impl Cast {
    /// The plan of the step with this label; none for another definition's.
    pub(crate) fn planned(&self, label: &str) -> Option<&saga_core::definition::StepPlan> {
        self.index(label).map(|index| &self.plan.steps()[index])
    }

    /// The index of the step, or of the step whose item this is.
    pub(crate) fn index(&self, label: &str) -> Option<usize> {
        let origin = label.split_once('[').map_or(label, |(origin, _)| origin);
        self.plan.steps().iter().position(|step| step.name.as_str() == origin)
    }

    /// Whether what the step does must be gone once the saga is rolled back. Another definition's steps must.
    pub(crate) fn must_be_undone(&self, label: &str) -> bool {
        match self.planned(label) {
            Some(step) => step.compensate.is_some() || step.kind == Kind::Pivot,
            None => true,
        }
    }

    /// Whether the step has no effect, by its kind.
    pub(crate) fn only_reads(&self, label: &str) -> bool {
        self.planned(label).is_some_and(|step| step.kind == Kind::Query)
    }
}

/// How long after a crash the next process starts.
pub(crate) const OUTAGE: Duration = Duration::from_secs(1);

/// The name of an operation, for people.
pub(crate) fn verb(op: Op) -> &'static str {
    match op {
        Op::Run => "",
        Op::Probe => "probe of ",
        Op::Compensate => "undo of ",
    }
}
