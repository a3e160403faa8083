//! What may happen in a life, drawn from a seed: in terms of places (the second worker, the third saga), so that what is
//! left when some of it is taken away still makes sense.

use saga_core::journal::{End, Standing};

/// How many workers there are; each has its present lease and the one before.
pub(super) const WORKERS: usize = 3;
/// How many pairs of definition and key there are.
pub(super) const PAIRS: usize = 6;

/// One of the leases: the present ones of the workers, and then the ones before.
pub(super) type LeasePlace = usize;
/// One of the pairs of definition and key.
pub(super) type Pair = usize;

/// What happens next.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Open {
        worker: usize,
    },
    Renew {
        lease: LeasePlace,
    },
    Lapse {
        lease: LeasePlace,
    },
    Close {
        lease: LeasePlace,
    },
    Fence,
    Register {
        version: u32,
        step: u8,
    },
    Start {
        lease: Option<LeasePlace>,
        sagas: Vec<Begin>,
    },
    /// When `by_owner`, to sagas that somebody owns, by whoever owns the first of them.
    Append {
        lease: LeasePlace,
        by_owner: bool,
        turns: Vec<Draft>,
    },
    /// The last append once more, perhaps under another lease, or with another nonce.
    Resend {
        lease: Option<LeasePlace>,
        other_nonce: bool,
    },
    Claim {
        lease: LeasePlace,
        all: bool,
        limit: usize,
    },
    ClaimOne {
        lease: LeasePlace,
        saga: Pair,
    },
    Send {
        messages: Vec<(Pair, u8)>,
    },
    Relay {
        lease: LeasePlace,
        limit: usize,
    },
    Settle {
        lease: LeasePlace,
        fates: Vec<(usize, Fate)>,
    },
    Revive {
        event: usize,
        again: bool,
    },
    Acknowledge {
        letters: Vec<usize>,
    },
    Forget {
        which: Which,
        limit: usize,
        at_once: bool,
    },
    /// What the worker has is compared.
    Peek {
        lease: LeasePlace,
    },
    /// Everything that can be read is compared.
    Look,
}

/// A saga to be started.
#[derive(Clone, Debug)]
pub(super) struct Begin {
    pub(super) pair: Pair,
    pub(super) id: Identity,
}

/// The id that a start carries.
#[derive(Clone, Copy, Debug)]
pub(super) enum Identity {
    /// The pair's own, as when a call is sent again.
    Own,
    /// Another one, as from another client.
    Fresh,
    /// One that belongs to another pair.
    Of(Pair),
}

/// A turn to be written.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) saga: Pair,
    pub(super) place: Place,
    pub(super) after: Next,
    /// Step (or none), and whether the letter opens.
    pub(super) letters: Vec<(Option<u8>, bool)>,
    pub(super) read: Reading,
    pub(super) events: usize,
    pub(super) locks: Option<Locking>,
    pub(super) starts: Vec<Begin>,
    pub(super) sends: Vec<(Pair, u8)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Next,
    Taken,
    Gap,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    Keep,
    /// With a time that is past, that is far away, or none.
    Park(Option<bool>, Standing),
    End(End),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    Nothing,
    First,
    Everything,
    /// A message that is not there.
    Nonsense,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Locking {
    /// One bit for each entity.
    Ask(u8),
    GiveUp,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    Published,
    RetryNow,
    RetryLater,
    Dead,
}

/// Which sagas are to be forgotten.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    /// Those that the journal says have ended long enough ago.
    Expired,
    /// This one, whatever became of it.
    One(Pair),
}

/// The operations of a life.
pub(super) fn operations(seed: u64, count: usize) -> Vec<Operation> {
    let mut dice = Dice(fastrand::Rng::with_seed(seed));
    let mut drawn: Vec<Operation> = (0..WORKERS).map(|worker| Operation::Open { worker }).collect();
    drawn.extend((0..WORKERS).map(|worker| Operation::Start {
        lease: Some(worker),
        sagas: [worker, worker + WORKERS].map(|pair| Begin { pair, id: Identity::Own }).into(),
    }));
    while drawn.len() < count {
        drawn.extend(dice.chance(4).then(|| dice.takeover()).into_iter().flatten());
        drawn.extend(dice.chance(6).then(|| dice.publication()).into_iter().flatten());
        drawn.push(dice.operation());
    }
    drawn.push(Operation::Look);
    drawn
}

struct Dice(fastrand::Rng);

impl Dice {
    fn operation(&mut self) -> Operation {
        match self.0.u32(..100) {
            0..5 => Operation::Open { worker: self.0.usize(..WORKERS) },
            5..6 => Operation::Renew { lease: self.lease() },
            6..7 => Operation::Lapse { lease: self.lease() },
            7..8 => Operation::Close { lease: self.lease() },
            8..10 => Operation::Fence,
            10..14 => Operation::Peek { lease: self.lease() },
            14..15 => Operation::Register { version: self.0.u32(1..3), step: self.0.u8(..2) },
            15..28 => {
                Operation::Start { lease: self.chance(60).then(|| self.lease()), sagas: self.some(3, Self::begin) }
            }
            28..56 => self.append(),
            56..60 => Operation::Resend { lease: self.chance(20).then(|| self.lease()), other_nonce: self.chance(20) },
            60..70 => Operation::Claim { lease: self.lease(), all: self.chance(70), limit: self.0.usize(1..5) },
            70..73 => Operation::ClaimOne { lease: self.lease(), saga: self.pair() },
            73..80 => Operation::Send { messages: self.some(3, Self::message) },
            80..85 => Operation::Relay { lease: self.lease(), limit: self.0.usize(1..7) },
            85..89 => {
                Operation::Settle { lease: self.lease(), fates: self.some(3, |dice| (dice.0.usize(..4), dice.fate())) }
            }
            89..91 => Operation::Revive { event: self.0.usize(..3), again: self.chance(60) },
            91..93 => Operation::Acknowledge { letters: self.some(2, |dice| dice.0.usize(..4)) },
            93..97 => Operation::Forget {
                which: if self.chance(70) { Which::Expired } else { Which::One(self.pair()) },
                limit: self.0.usize(1..4),
                at_once: self.chance(80),
            },
            97..99 => Operation::Peek { lease: self.lease() },
            _ => Operation::Look,
        }
    }

    /// A worker is cut off, and another one takes over.
    fn takeover(&mut self) -> [Operation; 5] {
        let (gone, next) = (self.0.usize(..WORKERS), self.0.usize(..WORKERS));
        [
            Operation::Lapse { lease: gone },
            Operation::Fence,
            Operation::Open { worker: next },
            Operation::Claim { lease: next, all: true, limit: self.0.usize(1..PAIRS) },
            Operation::Peek { lease: next },
        ]
    }

    /// A relay's round, and a look at what it has left.
    fn publication(&mut self) -> [Operation; 3] {
        let (lease, fates) = (self.0.usize(..WORKERS), self.some(3, |dice| (dice.0.usize(..3), dice.fate())));
        let relay = Operation::Relay { lease, limit: 2 * PAIRS };
        [relay.clone(), Operation::Settle { lease, fates }, relay]
    }

    fn append(&mut self) -> Operation {
        let most = if self.chance(60) { 1 } else { 3 };
        let mut turns = self.some(most, Self::draft);
        if turns.len() > 1 {
            // A journal may write the turns of one call in any order: what one does to another's saga would depend on it.
            for turn in &mut turns {
                (turn.locks, turn.starts, turn.sends) = (None, Vec::new(), Vec::new());
            }
        }
        Operation::Append { lease: self.lease(), by_owner: self.chance(85), turns }
    }

    fn draft(&mut self) -> Draft {
        Draft {
            saga: self.pair(),
            place: *self.of(&[
                Place::Next,
                Place::Next,
                Place::Next,
                Place::Next,
                Place::Next,
                Place::Taken,
                Place::Gap,
            ]),
            after: self.next(),
            letters: if self.chance(25) {
                self.some(2, |dice| (*dice.of(&[None, Some(0), Some(1)]), dice.chance(60)))
            } else {
                Vec::new()
            },
            read: *self.of(&[
                Reading::Nothing,
                Reading::First,
                Reading::Everything,
                Reading::Everything,
                Reading::Nonsense,
            ]),
            events: if self.chance(40) { self.0.usize(1..4) } else { 0 },
            locks: self.locks(),
            starts: if self.chance(10) { self.some(2, Self::begin) } else { Vec::new() },
            sends: if self.chance(15) { self.some(2, Self::message) } else { Vec::new() },
        }
    }

    fn next(&mut self) -> Next {
        let when = *self.of(&[None, Some(false), Some(true)]);
        let standing = *self.of(&[
            Standing::Waiting,
            Standing::Waiting,
            Standing::NeedsAttention,
            Standing::Watching,
            Standing::Retained,
            Standing::SetAside,
        ]);
        match self.0.u32(..10) {
            0..6 => Next::Keep,
            6..9 => Next::Park(when, standing),
            _ => Next::End(*self.of(&[End::Completed, End::RolledBack])),
        }
    }

    fn locks(&mut self) -> Option<Locking> {
        match self.0.u32(..10) {
            0..4 => Some(Locking::Ask(self.0.u8(1..8))),
            4 => Some(Locking::GiveUp),
            _ => None,
        }
    }

    fn begin(&mut self) -> Begin {
        let id = match self.0.u32(..10) {
            0..8 => Identity::Own,
            8 => Identity::Fresh,
            _ => Identity::Of(self.pair()),
        };
        Begin { pair: self.pair(), id }
    }

    fn fate(&mut self) -> Fate {
        *self.of(&[Fate::Published, Fate::Published, Fate::RetryNow, Fate::RetryLater, Fate::Dead])
    }

    fn message(&mut self) -> (Pair, u8) {
        (self.pair(), self.0.u8(..3))
    }

    /// Mostly a present one.
    fn lease(&mut self) -> LeasePlace {
        self.0.usize(..WORKERS) + if self.chance(12) { WORKERS } else { 0 }
    }

    fn pair(&mut self) -> Pair {
        self.0.usize(..PAIRS)
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.0.u32(..100) < percent
    }

    fn of<'a, T>(&mut self, choice: &'a [T]) -> &'a T {
        &choice[self.0.usize(..choice.len())]
    }

    /// One at least.
    fn some<T>(&mut self, most: usize, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.0.usize(1..=most)).map(|_| one(self)).collect()
    }
}
