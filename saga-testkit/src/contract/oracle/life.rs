//! A life: operations become calls, which are made on the journal and judged by the model.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use saga_core::definition::{Kind, Outline, StepOutline};
use saga_core::journal::{
    After, EventFate, Lease, LetterChange, ListFilter, LockChange, Message, NewEvent, NewSaga, SagaStatus,
    SettledEvent, Turn,
};
use saga_core::machine::AttentionReason;
use saga_core::{Digest, Op, SagaId, StepName};

use super::super::Fixture;
use super::call::Call;
use super::draw::{
    Begin, Draft, Fate, Identity, Locking, Next, Operation, PAIRS, Pair, Place, Reading, WORKERS, Which,
};
use super::model::Model;

/// Longer than a life.
const LONG: Duration = Duration::from_secs(3600);
/// The clock of a journal may count milliseconds: no two operations are at the same time.
const MOMENT: Duration = Duration::from_millis(2);

/// Where an answer differed, and what had been done until then.
#[derive(Debug)]
pub(super) struct Difference {
    /// The operation, by its place.
    pub(super) at: usize,
    /// Each call with its answer.
    pub(super) calls: Vec<String>,
}

/// What was done and answered, over all lives.
#[derive(Debug, Default)]
pub(super) struct Tally {
    lives: u64,
    calls: BTreeMap<String, u64>,
    answers: BTreeMap<&'static str, u64>,
}

/// What has to be answered now and then, or the lives prove little.
const ANSWERS: [&str; 15] = [
    "Fenced",
    "IdTaken",
    "Exists",
    "Created",
    "Written",
    "Repeated",
    "Rival",
    "Unread",
    "crashed: true",
    "Ended",
    "Owned",
    "Duplicate",
    "TooLate",
    "lock:",
    "attempts",
];

impl Tally {
    fn count(&mut self, call: &Call, answer: &str) {
        *self.calls.entry(call.name()).or_default() += 1;
        for word in ANSWERS.into_iter().filter(|word| answer.contains(word)) {
            *self.answers.entry(word).or_default() += 1;
        }
    }

    pub(super) fn lives(&self) -> u64 {
        self.lives
    }

    /// Whether everything was answered that can be.
    pub(super) fn is_rich(&self) -> bool {
        ANSWERS.iter().all(|word| self.answers.contains_key(word))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lives, {} calls: {:?}", self.lives, self.calls.values().sum::<u64>(), self.answers)
    }
}

/// Lives through these operations on a fresh journal.
pub(super) async fn live<F: Fixture>(
    fixture: &F,
    operations: &[Operation],
    tally: &mut Tally,
) -> Result<(), Difference> {
    let journal = fixture.fresh().await;
    let other = fixture.reopen(&journal).await;
    let mut life = Life { journals: [journal, other], model: Model::default(), last: None, made: 0, told: Vec::new() };
    tally.lives += 1;
    for (at, operation) in operations.iter().enumerate() {
        fixture.pass(MOMENT).await;
        let calls = life.calls(operation);
        for call in calls {
            life.make(&call, at, tally).await?;
        }
        if let Operation::Forget { which: Which::Expired, limit, at_once } = operation {
            life.forget_expired(*limit, *at_once, at, tally).await?;
        }
    }
    Ok(())
}

struct Life<J> {
    /// Two processes on one storage.
    journals: [J; 2],
    model: Model,
    last: Option<(Lease, Vec<Turn>)>,
    /// How many ids, nonces and events there have been.
    made: u64,
    told: Vec<String>,
}

impl<J: saga_core::journal::Journal> Life<J> {
    async fn make(&mut self, call: &Call, at: usize, tally: &mut Tally) -> Result<(), Difference> {
        let journal = &self.journals[self.told.len() % 2];
        match call.make(journal, &mut self.model).await {
            Ok(answer) => {
                tally.count(call, &answer);
                self.told.push(format!("{call:?}\n     -> {answer}"));
                Ok(())
            }
            Err(problem) => {
                self.told.push(format!("{call:?}\n{problem}"));
                Err(Difference { at, calls: std::mem::take(&mut self.told) })
            }
        }
    }

    /// What the journal names is forgotten.
    async fn forget_expired(
        &mut self,
        limit: usize,
        at_once: bool,
        at: usize,
        tally: &mut Tally,
    ) -> Result<(), Difference> {
        let retention = if at_once { Duration::ZERO } else { LONG };
        self.make(&Call::Expired { retention, limit }, at, tally).await?;
        // Judged a moment ago.
        let sagas = self.journals[0].expired(retention, limit).await.unwrap_or_default();
        self.make(&Call::Forget { sagas, retention }, at, tally).await
    }

    fn calls(&mut self, operation: &Operation) -> Vec<Call> {
        let lease = |place: &usize| self.model.lease(*place, WORKERS);
        let call = match operation {
            Operation::Open { worker } => Some(Call::Open { worker: *worker, ttl: LONG }),
            Operation::Renew { lease: place } => lease(place).map(|lease| Call::Renew { lease, ttl: LONG }),
            Operation::Lapse { lease: place } => lease(place).map(|lease| Call::Renew { lease, ttl: Duration::ZERO }),
            Operation::Close { lease: place } => lease(place).map(|lease| Call::Close { lease }),
            Operation::Fence => Some(Call::Fence),
            Operation::Register { version, step } => Some(Call::Register { outline: outline(*version, *step) }),
            Operation::Start { lease: place, sagas } => {
                let lease = place.as_ref().and_then(lease);
                Some(Call::Start { lease, sagas: self.new_sagas(sagas) })
            }
            Operation::Append { lease: place, by_owner, turns } => self.append(*place, *by_owner, turns),
            Operation::Resend { lease: place, other_nonce } => self.resend(*place, *other_nonce),
            Operation::Claim { lease: place, all, limit } => lease(place).map(|lease| {
                let mut definitions = vec![definition(0), definition(1)];
                definitions.truncate(if *all { 2 } else { 1 });
                Call::Claim { lease, definitions, limit: *limit }
            }),
            Operation::ClaimOne { lease: place, saga } => {
                let lease = lease(place);
                lease.map(|lease| Call::ClaimOne { lease, saga: self.saga(*saga) })
            }
            Operation::Send { messages } => Some(Call::Send { messages: messages.iter().map(message).collect() }),
            Operation::Relay { lease: place, limit } => lease(place).map(|lease| Call::Relay { lease, limit: *limit }),
            Operation::Settle { lease: place, fates } => {
                let lease = lease(place);
                lease.map(|lease| Call::Settle { lease, settled: self.settled(lease, fates) })
            }
            Operation::Revive { event, again } => {
                let id = self.model.dead_event_ids().get(*event).cloned().unwrap_or_else(|| "nonsense".to_owned());
                Some(Call::Revive { id, again: *again })
            }
            Operation::Acknowledge { letters } => {
                let open = self.model.open_letters();
                Some(Call::Acknowledge { letters: letters.iter().filter_map(|at| open.get(*at).cloned()).collect() })
            }
            Operation::Forget { which: Which::One(pair), at_once, .. } => {
                let retention = if *at_once { Duration::ZERO } else { LONG };
                Some(Call::Forget { sagas: vec![self.saga(*pair)], retention })
            }
            Operation::Forget { which: Which::Expired, .. } => None,
            Operation::Peek { lease: place } => {
                let own = lease(place).map(|lease| [Call::Owned { lease }, Call::Inbox { lease }, Call::Locks]);
                return own.into_iter().flatten().collect();
            }
            Operation::Look => return self.look(),
        };
        call.into_iter().collect()
    }

    fn append(&mut self, place: usize, by_owner: bool, turns: &[Draft]) -> Option<Call> {
        let owner = |pair: &Pair| self.model.standing_of(self.saga_of(*pair)?).0;
        let owned: Vec<Pair> = (0..PAIRS).filter(|pair| by_owner && owner(pair).is_some()).collect();
        let pair = |draft: &Draft| owned.get(draft.saga % owned.len().max(1)).copied().unwrap_or(draft.saga);
        let turns: Vec<Draft> = turns.iter().map(|draft| Draft { saga: pair(draft), ..draft.clone() }).collect();
        let owner = turns.first().and_then(|turn| owner(&turn.saga)).filter(|_| by_owner);
        let lease = owner.or_else(|| self.model.lease(place, WORKERS))?;
        let mut written: Vec<Turn> = Vec::new();
        for draft in &turns {
            let turn = self.turn(draft);
            // One turn at most for each saga.
            if !written.iter().any(|other| other.saga == turn.saga) {
                written.push(turn);
            }
        }
        self.last = Some((lease, written.clone()));
        Some(Call::Append { lease, turns: written })
    }

    fn resend(&mut self, place: Option<usize>, other_nonce: bool) -> Option<Call> {
        let (lease, mut turns) = self.last.clone()?;
        let lease = place.and_then(|place| self.model.lease(place, WORKERS)).unwrap_or(lease);
        if other_nonce {
            turns.iter_mut().for_each(|turn| turn.nonce = -turn.nonce);
        }
        Some(Call::Append { lease, turns })
    }

    fn turn(&mut self, draft: &Draft) -> Turn {
        let saga = self.saga(draft.saga);
        let (_, turns, unread) = self.model.standing_of(saga);
        let seq = match draft.place {
            Place::Next => turns,
            Place::Taken => turns - 1,
            Place::Gap => turns + 1,
        };
        let nonce = self.made();
        let after = match draft.after {
            Next::Keep => After::Keep,
            Next::Park(far, standing) => After::Park { wake_at: far.map(|far| self.model.instant(far)), standing },
            Next::End(end) => After::End(end),
        };
        let body = format!("[\"turn {seq} é 🦀\", {nonce}]");
        let mut turn = Turn::new(saga, u32::try_from(seq).unwrap_or(u32::MAX), nonce, body, after);
        turn.letters = letters(&draft.letters);
        turn.read = match draft.read {
            Reading::Nothing => Vec::new(),
            Reading::First => unread.into_iter().take(1).collect(),
            Reading::Everything => unread,
            Reading::Nonsense => vec!["m9".to_owned()],
        };
        turn.events = (0..draft.events).map(|_| event(self.made())).collect();
        turn.locks = draft.locks.map(|locking| match locking {
            Locking::Ask(bits) => LockChange::Ask { step: StepName::from("lock"), keys: entities(bits) },
            Locking::GiveUp => LockChange::GiveUp,
        });
        turn.starts = self.new_sagas(&draft.starts);
        turn.sends = draft.sends.iter().map(message).collect();
        turn
    }

    fn new_sagas(&mut self, sagas: &[Begin]) -> Vec<NewSaga> {
        let mut own: BTreeMap<Pair, SagaId> = BTreeMap::new();
        let mut new = Vec::new();
        for begin in sagas {
            let id = match begin.id {
                Identity::Own => {
                    let id = own.get(&begin.pair).copied().or_else(|| self.saga_of(begin.pair));
                    id.unwrap_or_else(|| self.new_id())
                }
                Identity::Fresh => self.new_id(),
                Identity::Of(other) => {
                    let id = own.get(&other).copied().or_else(|| self.saga_of(other));
                    id.unwrap_or_else(|| self.new_id())
                }
            };
            own.entry(begin.pair).or_insert(id);
            let (definition, version) = definition(begin.pair);
            let nonce = self.made();
            new.push(NewSaga {
                id,
                definition,
                version,
                key: key(begin.pair),
                input: Digest::of_text(&nonce.to_string()),
                body: format!("[\"start\", {nonce}]"),
                nonce,
            });
        }
        new
    }

    fn settled(&self, lease: Lease, fates: &[(usize, Fate)]) -> Vec<SettledEvent> {
        let ready = self.model.ready_events(lease);
        let mut settled: Vec<SettledEvent> = Vec::new();
        for (at, fate) in fates {
            let id = ready.get(*at).cloned().unwrap_or_else(|| format!("e{at}"));
            let error = "the broker is down".to_owned();
            let fate = match fate {
                Fate::Published => EventFate::Published,
                Fate::RetryNow => EventFate::Retry { after: Duration::ZERO, error },
                Fate::RetryLater => EventFate::Retry { after: LONG, error },
                Fate::Dead => EventFate::Dead { error },
            };
            if !settled.iter().any(|other| other.id == id) {
                settled.push(SettledEvent { id, fate });
            }
        }
        settled
    }

    /// Everything that can be read, by everybody.
    fn look(&self) -> Vec<Call> {
        let mut calls = vec![Call::Letters { saga: None }, Call::Unalerted, Call::DeadEvents, Call::Locks];
        for lease in self.model.leases() {
            calls.extend([Call::Owned { lease }, Call::Inbox { lease }]);
        }
        let sagas: Vec<SagaId> = (0..PAIRS).filter_map(|pair| self.saga_of(pair)).collect();
        calls.push(Call::Letters { saga: sagas.first().copied() });
        for pair in 0..PAIRS {
            calls.push(Call::Find { definition: definition(pair).0, key: key(pair) });
        }
        calls.push(Call::Summary { saga: self.saga(0) });
        let filters = [
            ListFilter::default(),
            ListFilter { status: Some(SagaStatus::Waiting), ..ListFilter::default() },
            ListFilter { status: Some(SagaStatus::Running), ..ListFilter::default() },
            ListFilter { status: Some(SagaStatus::NeedsAttention), ..ListFilter::default() },
            ListFilter { definition: Some(definition(1).0), before: sagas.last().copied(), ..ListFilter::default() },
            ListFilter { key_prefix: Some(key(0)), ..ListFilter::default() },
        ];
        for (filter, limit) in filters.into_iter().zip([PAIRS + 1, 2, 1, 2, 2, 3]) {
            calls.push(Call::List { filter, limit });
        }
        calls.push(Call::Load { sagas });
        calls
    }

    fn saga_of(&self, pair: Pair) -> Option<SagaId> {
        self.model.find(&definition(pair).0, &key(pair)).map(|summary| summary.header.id)
    }

    /// One that nobody has when the pair has none.
    fn saga(&self, pair: Pair) -> SagaId {
        self.saga_of(pair).unwrap_or_else(|| numbered(0))
    }

    fn new_id(&mut self) -> SagaId {
        self.made += 1;
        numbered(self.made)
    }

    fn made(&mut self) -> i64 {
        self.made += 1;
        i64::try_from(self.made).unwrap_or(i64::MAX)
    }
}

/// The same in every life, and in the order in which they were made.
fn numbered(number: u64) -> SagaId {
    let bytes = format!("01980000-0000-7000-8000-{number:012x}");
    bytes.parse().unwrap()
}

fn definition(pair: Pair) -> (String, u32) {
    if pair.is_multiple_of(2) { ("order".to_owned(), 1) } else { ("refund".to_owned(), 2) }
}

fn key(pair: Pair) -> String {
    format!("k{}", pair / 2)
}

fn message((pair, number): &(Pair, u8)) -> Message {
    let id = format!("m{number}");
    Message { definition: definition(*pair).0, key: key(*pair), body: format!("\"{id}\""), id }
}

fn event(number: i64) -> NewEvent {
    let headers = [("tenant".to_owned(), "é 🦀".to_owned())].into();
    NewEvent { id: format!("e{number}"), topic: "shipped".to_owned(), headers, payload: format!("{{\"n\":{number}}}") }
}

fn entities(bits: u8) -> Vec<String> {
    (0..3).filter(|bit| bits & (1 << bit) != 0).map(|bit| format!("entity {bit}")).collect()
}

/// One change at most for each step.
fn letters(drawn: &[(Option<u8>, bool)]) -> Vec<LetterChange> {
    let mut changes: BTreeMap<Option<u8>, LetterChange> = BTreeMap::new();
    for (number, opens) in drawn {
        let (step, op) = (number.map(|number| StepName::from(&*format!("s{number}"))), Op::Compensate);
        let change = if *opens {
            let (reason, error) = (AttentionReason::Failed, "refused".to_owned());
            LetterChange::Open { step, op, reason, error, attempts: 3 }
        } else {
            let (resolution, actor) = ("skip".to_owned(), "ann".to_owned());
            LetterChange::Close { step, op, resolution, actor, reason: "by hand".to_owned() }
        };
        changes.entry(*number).or_insert(change);
    }
    changes.into_values().collect()
}

fn outline(version: u32, step: u8) -> Outline {
    let (name, after) = (StepName::from(&*format!("s{step}")), Vec::new());
    let step = StepOutline { name, kind: Kind::Query, compensated: false, after, guard: None, each: false };
    Outline { definition: "order".to_owned(), version, steps: vec![step] }
}
