//! Plans, as a connection is told them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// What grows with the sagas that are stored or live. Leases are few, definitions as well.
const GROW: [&str; 8] = ["dead_letter", "ended", "live", "lock", "message", "outbox", "saga", "turn"];

/// How the rows of a table are found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scan {
    /// By an index; its name begins with that of its table.
    Index(String),
    /// The first in an index, or whether there is one.
    FirstOf(String),
    /// All that is in an index is gone through.
    AllOf(String),
    /// All of them are read.
    Whole { table: String, node: String },
}

impl fmt::Display for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => f.write_str(index),
            Self::FirstOf(index) => write!(f, "{index} (the first)"),
            Self::AllOf(index) => write!(f, "{index} (all of it)"),
            Self::Whole { table, node } => write!(f, "the whole of {table} ({node})"),
        }
    }
}

/// The texts of all notices of this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    /// Listens from here on.
    pub(crate) fn listen() -> Self {
        let heard = Self::default();
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(heard.clone())).unwrap();
        heard
    }

    /// The scans of the plans that were heard since the last time.
    pub(crate) fn take(&self) -> BTreeSet<Scan> {
        let texts = std::mem::take(&mut *self.0.lock().unwrap());
        let mut scans = BTreeSet::new();
        for text in texts {
            let Some((_, plan)) = text.split_once("plan:\n") else { continue };
            let plan: Value = serde_json::from_str(plan).unwrap();
            collect(&plan["Plan"], false, &mut scans);
        }
        scans
    }
}

impl<S: tracing::Subscriber> Layer<S> for Heard {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "sqlx::postgres::notice" {
            event.record(&mut Text(self));
        }
    }
}

struct Text<'h>(&'h Heard);

impl Visit for Text<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.0.0.lock().unwrap().push(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// `limited` when no more rows are asked of the node than are needed above.
fn collect(node: &Value, limited: bool, scans: &mut BTreeSet<Scan>) {
    let text = |field: &str| node[field].as_str().unwrap_or_default().to_owned();
    let (kind, table, index) = (text("Node Type"), text("Relation Name"), text("Index Name"));
    if GROW.iter().any(|table| index.starts_with(table)) {
        let (found, picked) = (!node["Index Cond"].is_null(), !node["Filter"].is_null());
        scans.insert(match (found, limited && !picked) {
            (true, _) => Scan::Index(index),
            (false, true) => Scan::FirstOf(index),
            (false, false) => Scan::AllOf(index),
        });
    } else if GROW.contains(&table.as_str()) && (kind == "Seq Scan" || kind == "Sample Scan") {
        scans.insert(Scan::Whole { table, node: kind.clone() });
    }
    for below in node["Plans"].as_array().into_iter().flatten() {
        // What is asked before the query itself is whether something exists.
        let exists = below["Parent Relationship"] == "InitPlan";
        collect(below, exists || kind == "Limit" || limited && kind == "LockRows", scans);
    }
}
