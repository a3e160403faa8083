//! The same checkout in each engine, as its own documents show a saga.

mod dbos;
mod durare;
mod ours;
mod steno;
mod steno_store;

use std::error::Error;
use std::sync::OnceLock;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::ledger::{End, Ledger, Op, Trouble};

/// Why a worker could not begin.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Who runs the checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    Ours,
    Dbos,
    /// The program undoes the step that failed as well, by its key.
    DbosCareful,
    Durare,
    DurareCareful,
    Steno,
}

impl Name {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Ours, Self::Dbos, Self::DbosCareful, Self::Durare, Self::DurareCareful, Self::Steno];

    /// What the table calls it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Dbos => "dbos 0.5.0",
            Self::DbosCareful => "dbos 0.5.0, careful program",
            Self::Durare => "durare 0.5.0",
            Self::DurareCareful => "durare 0.5.0, careful program",
            Self::Steno => "steno 0.5.0",
        }
    }
}

/// One saga, wherever an earlier worker has brought it: what became of it, as the engine told the program.
pub async fn run(name: Name, url: &str, id: &str, ledger: Ledger) -> Result<(End, String), Failure> {
    let careful = matches!(name, Name::DbosCareful | Name::DurareCareful);
    match name {
        Name::Ours => ours::run(url, id, ledger).await,
        Name::Dbos | Name::DbosCareful => dbos::run(url, id, careful).await,
        Name::Durare | Name::DurareCareful => durare::run(url, id, careful).await,
        Name::Steno => steno::run(url, id, ledger).await,
    }
}

/// The participant's client, for programs whose engines hand nothing to a workflow but its input: the documents
/// of durare put such things into a global.
static LEDGER: OnceLock<Ledger> = OnceLock::new();

/// Sets that global.
pub fn provide(ledger: Ledger) {
    LEDGER.get_or_init(|| ledger);
}

fn ledger() -> Result<Ledger, CheckoutError> {
    LEDGER.get().copied().ok_or(CheckoutError::NoLedger)
}

/// How the programs of the peers fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
enum CheckoutError {
    #[error("no ledger")]
    NoLedger,
    #[error("declined")]
    Declined,
    #[error("no answer")]
    NoAnswer,
    #[error("the undoing of {} failed", .0.name())]
    UndoFailed(Op),
}

impl From<Trouble> for CheckoutError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::NoAnswer | Trouble::Refused => Self::NoAnswer,
            Trouble::Declined => Self::Declined,
        }
    }
}

impl CheckoutError {
    /// What the program tells of it.
    fn end(self) -> End {
        match self {
            Self::NoLedger => End::EngineError,
            Self::Declined | Self::NoAnswer => End::RolledBack,
            Self::UndoFailed(_) => End::UndoFailed,
        }
    }
}

/// The key of a step: the workflow's id and the step's name, which are the same in every attempt and execution.
fn key(workflow: &str, op: Op) -> String {
    format!("{workflow}/{}", op.name())
}
