//! The clients' side: they start sagas and send signals, and take note of what they were told.

use std::collections::BTreeMap;
use std::time::Duration;

use saga_core::engine::{SignalError, Signalled, StartError};
use saga_core::{Definition, Engine, SagaId};

use crate::ledger::Script;
use crate::sagas::{Order, SIGNAL, Sagas};

/// A start that was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The definition.
    pub definition: &'static str,
    /// The start key.
    pub key: String,
    /// The saga that the client was told.
    pub saga: SagaId,
    /// The order.
    pub order: Order,
}

/// What a client was told of a signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The start key of the saga that it was sent to.
    pub key: String,
    /// The signal's id.
    pub id: String,
    /// The saga that sees to it, when it came too late.
    pub follow_up: Option<SagaId>,
}

/// The clients' history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Starts that were tried, by definition and key: all that can be in the journal.
    pub tried: BTreeMap<(&'static str, String), Script>,
    /// Starts that were acknowledged.
    pub started: Vec<Started>,
    /// Signals that were acknowledged.
    pub sent: Vec<Sent>,
    /// Calls that failed, and were repeated.
    pub repeated: u64,
    /// Answers that make no sense: another saga for the same key.
    pub odd: Vec<String>,
}

impl Notes {
    /// Takes in another client's.
    pub fn extend(&mut self, other: Self) {
        let Self { tried, started, sent, repeated, odd } = other;
        self.tried.extend(tried);
        self.started.extend(started);
        self.sent.extend(sent);
        self.odd.extend(odd);
        self.repeated += repeated;
    }
}

/// What a secret looks like: seen anywhere, it has leaked.
#[must_use]
pub fn secret(seed: u64) -> String {
    format!("card-{seed:x}-4111-1111")
}

/// One client: starts orders one after the other.
#[derive(Debug)]
pub struct Client {
    /// Runs nothing.
    pub engine: Engine,
    /// What it starts.
    pub sagas: Sagas,
    /// Its dice.
    pub random: fastrand::Rng,
    /// What distinguishes its keys.
    pub prefix: String,
    /// The secret that some orders carry.
    pub card: String,
}

impl Client {
    /// Starts the `number`th order, of a shape and with a script by chance; and tells its story until it is
    /// acknowledged.
    pub async fn order(&mut self, number: u64, notes: &mut Notes) {
        let key = format!("{}-{number}", self.prefix);
        let shape = self.random.u8(0..10);
        let mut order = Order {
            number,
            cents: self.random.i64(100..10_000),
            goods: self.random.i64(1..5),
            parts: (0..self.random.i64(1..5)).collect(),
            entities: self.entities(),
            script: self.script(),
            card: String::new(),
        };
        match shape {
            0..4 => {
                order.script = if order.script == Script::Declined { self.late_trouble() } else { order.script };
                order.card.clone_from(&self.card);
                self.start(|sagas| &sagas.checkout, "checkout", key, order, notes).await;
            }
            4 => self.start(|sagas| &sagas.batch, "batch", key, order, notes).await,
            5 | 6 => {
                let signals = self.random.u8(0..10);
                if signals == 0 {
                    self.signal(&key, "early", notes).await;
                }
                self.start(|sagas| &sagas.payment, "payment", key.clone(), order, notes).await;
                // One is told twice; few are not paid at all; some are paid more than once.
                if signals != 1 {
                    self.signal(&key, "paid", notes).await;
                    self.signal(&key, "paid", notes).await;
                }
                if signals == 2 {
                    self.signal(&key, "again", notes).await;
                }
            }
            7 | 8 => self.start(|sagas| &sagas.shelf, "shelf", key, order, notes).await,
            _ => self.start(|sagas| &sagas.parent, "parent", key, order, notes).await,
        }
    }

    fn entities(&mut self) -> Vec<String> {
        let (one, other) = (self.random.u8(0..8), self.random.u8(0..8));
        let mut entities: Vec<String> = [one, other].map(|n| format!("shelf-{n}")).into();
        entities.sort();
        entities.dedup();
        entities
    }

    fn script(&mut self) -> Script {
        match self.random.u8(0..20) {
            0..5 => Script::Declined,
            5 => Script::FirstSilent,
            _ => Script::Fine,
        }
    }

    /// How a checkout fails, when it fails.
    fn late_trouble(&mut self) -> Script {
        match self.random.u8(0..20) {
            0 => Script::UndoRefused,
            1..6 => Script::PivotSilent,
            _ => Script::Declined,
        }
    }

    /// Starts one, again and again until it is acknowledged.
    pub async fn start<O: Send + 'static>(
        &self,
        definition: impl Fn(&Sagas) -> &Definition<Order, O>,
        name: &'static str,
        key: String,
        order: Order,
        notes: &mut Notes,
    ) {
        notes.tried.insert((name, key.clone()), order.script);
        loop {
            match self.engine.start(definition(&self.sagas), &key, order.clone()).await {
                Ok(handle) => return notes.started.push(Started { definition: name, key, saga: handle.id(), order }),
                Err(StartError::Unavailable { .. }) => {
                    notes.repeated += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => return notes.odd.push(format!("{name} {key}: {error:?}")),
            }
        }
    }

    /// Signals one, again and again until it is acknowledged.
    pub async fn signal(&self, key: &str, what: &str, notes: &mut Notes) {
        let id = format!("{key}/{what}");
        loop {
            match self.engine.signal("payment", key, SIGNAL, &1_u64, &id).await {
                Ok(Signalled::Accepted | Signalled::Duplicate) => {
                    return notes.sent.push(Sent { key: key.to_owned(), id, follow_up: None });
                }
                Ok(Signalled::Late { follow_up }) => {
                    return notes.sent.push(Sent { key: key.to_owned(), id, follow_up: Some(follow_up) });
                }
                Err(SignalError::Unavailable { .. }) => {
                    notes.repeated += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => return notes.odd.push(format!("signal {id}: {error:?}")),
            }
        }
    }
}
