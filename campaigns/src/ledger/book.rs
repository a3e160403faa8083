//! The books themselves.

use std::collections::{BTreeMap, BTreeSet};

use saga_core::verify::Invariant;
use saga_core::{IdempotencyKey, SagaId, StepName};

use super::{Apply, Resource, Undo};

/// What is known of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The saga that asked; none when the key was closed before anybody asked.
    pub saga: Option<SagaId>,
    /// Its step.
    pub step: Option<StepName>,
    /// What it touches.
    pub resource: Resource,
    /// How much of it.
    pub amount: i64,
    /// Whether it has had its effect.
    pub applied: bool,
    /// Whether the effect was undone.
    pub undone: bool,
    /// Whether it must have no effect any more.
    pub closed: bool,
    /// The keys under which it was undone.
    pub undo_keys: BTreeSet<IdempotencyKey>,
    /// How often it was asked for.
    pub asked: u32,
}

impl Entry {
    /// Whether the effect is there now.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.applied && !self.undone
    }
}

/// An event that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The saga that published it.
    pub saga: SagaId,
    /// Its mark.
    pub id: String,
    /// What it is about.
    pub topic: String,
}

/// Something that a participant would never let happen without a bug on the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// What it breaks.
    pub invariant: Invariant,
    /// The saga.
    pub saga: SagaId,
    /// The step.
    pub step: StepName,
    /// What happened.
    pub finding: String,
}

/// Who last worked on a shared entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shelf {
    /// The highest token seen.
    pub token: u64,
    /// Whose.
    pub saga: SagaId,
}

/// All that happened in the world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    /// By key.
    pub entries: BTreeMap<IdempotencyKey, Entry>,
    /// Everything that arrived, in order, duplicates included.
    pub deliveries: Vec<Delivery>,
    /// What should never have been asked.
    pub anomalies: Vec<Anomaly>,
    /// Goods: set aside, and sold.
    pub stock: (i64, i64),
    /// Money: held, and taken.
    pub money: (i64, i64),
    /// Shared entities.
    pub shelves: BTreeMap<String, Shelf>,
    /// How often an answer was lost after the effect, a call was lost before it, and an effect came late.
    pub faults: [u64; 3],
    /// How often something was undone that had not happened.
    pub null_undos: u64,
    /// How often an effect was refused because it came after its undoing.
    pub late_refused: u64,
}

impl Book {
    /// Has the effect, unless it has had it or must not; whether the key stands for one that has had it.
    pub fn apply(&mut self, ask: &Apply) -> bool {
        let entry = self.entries.entry(ask.key).or_insert_with(|| Entry {
            saga: None,
            step: None,
            resource: ask.resource,
            amount: ask.amount,
            applied: false,
            undone: false,
            closed: false,
            undo_keys: BTreeSet::new(),
            asked: 0,
        });
        entry.asked += 1;
        (entry.saga, entry.step) = (Some(ask.saga), Some(ask.step.clone()));
        (entry.resource, entry.amount) = (ask.resource, ask.amount);
        if entry.applied {
            return !entry.undone;
        }
        if entry.closed {
            self.late_refused += 1;
            return false;
        }
        entry.applied = true;
        self.moves(ask.resource, ask.amount, ask);
        true
    }

    fn moves(&mut self, resource: Resource, amount: i64, ask: &Apply) {
        match resource {
            Resource::Reservation => self.stock.0 += amount,
            Resource::Sale => {
                self.stock.0 -= amount;
                self.stock.1 += amount;
                if !self.has(ask.saga, Resource::Reservation, amount) {
                    self.strange(Invariant::Stock, ask, "sold without a reservation");
                }
            }
            Resource::Hold => self.money.0 += amount,
            Resource::Capture => {
                self.money.0 -= amount;
                self.money.1 += amount;
                if !self.has(ask.saga, Resource::Hold, amount) {
                    self.strange(Invariant::Money, ask, "taken without a hold");
                }
            }
            Resource::Shelf => self.enters(ask),
            Resource::Other => {}
        }
    }

    fn has(&self, saga: SagaId, resource: Resource, amount: i64) -> bool {
        let fits = |entry: &&Entry| entry.saga == Some(saga) && entry.resource == resource && entry.stands();
        self.entries.values().filter(fits).map(|entry| entry.amount).sum::<i64>() == amount
    }

    /// Tokens only grow: what a store would check that remembers the highest one seen.
    fn enters(&mut self, ask: &Apply) {
        for (entity, &token) in &ask.tokens {
            let shelf = self.shelves.entry(entity.clone()).or_insert(Shelf { token, saga: ask.saga });
            if token < shelf.token || (token == shelf.token && shelf.saga != ask.saga) {
                let finding = format!("{entity}: token {token} after {} of {}", shelf.token, shelf.saga);
                let (saga, step) = (ask.saga, ask.step.clone());
                self.anomalies.push(Anomaly { invariant: Invariant::EntityLocks, saga, step, finding });
            } else {
                *shelf = Shelf { token, saga: ask.saga };
            }
        }
    }

    fn strange(&mut self, invariant: Invariant, ask: &Apply, finding: &str) {
        let (saga, step, finding) = (ask.saga, ask.step.clone(), finding.to_owned());
        self.anomalies.push(Anomaly { invariant, saga, step, finding });
    }

    /// Undoes the effect, or sees to it that it never happens.
    pub fn undo(&mut self, ask: &Undo) {
        let Some(entry) = self.entries.get_mut(&ask.key) else {
            self.close(ask.key);
            self.null_undos += 1;
            return;
        };
        entry.undo_keys.insert(ask.undo_key);
        let (stood, resource, amount) = (entry.stands(), entry.resource, entry.amount);
        self.null_undos += u64::from(!entry.applied);
        (entry.closed, entry.undone) = (true, entry.applied);
        if !stood {
            return;
        }
        let of_saga = |resource| {
            move |entry: &Entry| entry.saga == Some(ask.saga) && entry.resource == resource && entry.stands()
        };
        let (invariant, finding) = match resource {
            Resource::Reservation => {
                self.stock.0 -= amount;
                (Invariant::Stock, "released what was sold")
            }
            Resource::Hold => {
                self.money.0 -= amount;
                (Invariant::Money, "released what was taken")
            }
            Resource::Sale | Resource::Capture | Resource::Shelf | Resource::Other => return,
        };
        let used = if resource == Resource::Hold { Resource::Capture } else { Resource::Sale };
        if self.entries.values().any(of_saga(used)) {
            let (saga, step, finding) = (ask.saga, ask.step.clone(), finding.to_owned());
            self.anomalies.push(Anomaly { invariant, saga, step, finding });
        }
    }

    /// Whether it has happened; if not, it will not.
    pub fn close(&mut self, key: IdempotencyKey) -> bool {
        let entry = self.entries.entry(key).or_insert(Entry {
            saga: None,
            step: None,
            resource: Resource::Other,
            amount: 0,
            applied: false,
            undone: false,
            closed: true,
            undo_keys: BTreeSet::new(),
            asked: 0,
        });
        entry.closed |= !entry.applied;
        entry.stands()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use saga_core::{Epoch, Op};

    fn apply(saga: SagaId, step: &str, resource: Resource) -> Apply {
        let step = StepName::from(step);
        let key = IdempotencyKey::of(saga, &step, Op::Run, 0);
        let (epoch, tokens, script) = (Epoch(1), BTreeMap::new(), super::super::Script::Fine);
        Apply { saga, step, key, epoch, resource, amount: 3, tokens, script }
    }

    fn undo(of: &Apply) -> Undo {
        let undo_key = IdempotencyKey::of(of.saga, &of.step, Op::Compensate, 0);
        Undo { saga: of.saga, step: of.step.clone(), key: of.key, undo_key, script: of.script }
    }

    #[test]
    fn a_key_has_one_effect_and_a_closed_one_none() {
        let (mut book, saga) = (Book::default(), SagaId::new());
        let reserve = apply(saga, "reserve", Resource::Reservation);
        assert!(book.apply(&reserve) && book.apply(&reserve));
        assert_eq!(book.stock, (3, 0));
        book.undo(&undo(&reserve));
        book.undo(&undo(&reserve));
        assert_eq!(book.stock, (0, 0));
        assert!(!book.apply(&reserve), "after its undoing");
        let hold = apply(saga, "hold", Resource::Hold);
        book.undo(&undo(&hold));
        assert!(!book.apply(&hold));
        assert_eq!((book.money, book.null_undos, book.late_refused), ((0, 0), 1, 1));
    }

    #[test]
    fn what_should_never_be_asked_is_noted() {
        let (mut book, saga) = (Book::default(), SagaId::new());
        book.apply(&apply(saga, "capture", Resource::Capture));
        assert_eq!(book.anomalies[0].invariant, Invariant::Money);
        let mut shelf = apply(saga, "enter", Resource::Shelf);
        shelf.tokens.insert("a".to_owned(), 7);
        book.apply(&shelf);
        let mut other = apply(SagaId::new(), "enter", Resource::Shelf);
        other.tokens.insert("a".to_owned(), 6);
        book.apply(&other);
        assert_eq!(book.anomalies[1].invariant, Invariant::EntityLocks);
    }
}
