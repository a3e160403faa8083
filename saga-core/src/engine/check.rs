//! The check before a deploy: which unfinished sagas this binary can continue. It reads, and runs nothing.

use std::collections::BTreeMap;

use super::Inner;
use super::saga::{Saga, describe};
use crate::definition::Outputs;
use crate::id::{Op, SagaId, StepName};
use crate::journal::{History, JournalError, ListFilter, SagaStatus};

/// How many sagas are looked at together.
const PAGE: usize = 500;
/// Where unfinished sagas stand.
const UNFINISHED: [SagaStatus; 5] =
    [SagaStatus::Running, SagaStatus::Waiting, SagaStatus::NeedsAttention, SagaStatus::Watching, SagaStatus::Retained];

/// What [`Engine::check`](super::Engine::check) found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// How many unfinished sagas this binary can continue, by definition and version.
    pub continues: BTreeMap<(String, u32), u64>,
    /// How many it cannot claim, because the definition or the version is not registered: only a binary that
    /// has it can finish them.
    pub unregistered: BTreeMap<(String, u32), u64>,
    /// Sagas with a payload that no longer decodes: an input, or what a step left. Let the type read the old
    /// form as well (an upcaster: `#[serde(default)]`, `#[serde(alias)]`, an untagged enum).
    pub undecodable: Vec<Undecodable>,
    /// Sagas whose history this binary cannot read at all, and why.
    pub unreadable: Vec<(SagaId, String)>,
}

/// A payload that no longer decodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// The saga.
    pub saga: SagaId,
    /// The step that would read it, or has left it.
    pub step: StepName,
    /// What is wrong with it.
    pub error: String,
}

impl CheckReport {
    /// Whether this binary can continue every unfinished saga.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.unregistered.is_empty() && self.undecodable.is_empty() && self.unreadable.is_empty()
    }
}

pub(crate) async fn check(inner: &Inner) -> Result<CheckReport, JournalError> {
    let mut report = CheckReport::default();
    for status in UNFINISHED {
        let mut filter = ListFilter { status: Some(status), ..ListFilter::default() };
        loop {
            let page = inner.journal.list(&filter, PAGE).await?;
            let Some(last) = page.last() else { break };
            filter.before = Some(last.header.id);
            let mut known = Vec::new();
            for summary in &page {
                let kind = (summary.header.definition.clone(), summary.header.version);
                if inner.blueprint(&kind.0, kind.1).is_some() {
                    known.push(summary.header.id);
                } else {
                    *report.unregistered.entry(kind).or_default() += 1;
                }
            }
            for history in inner.journal.load(&known).await? {
                look(inner, &history, &mut report);
            }
        }
    }
    Ok(report)
}

fn look(inner: &Inner, history: &History, report: &mut CheckReport) {
    let (saga, definition, version) = (history.header.id, &history.header.definition, history.header.version);
    let Some(blueprint) = inner.blueprint(definition, version) else { return };
    let known = match Saga::replay(blueprint.clone(), history) {
        Ok(known) => known,
        Err(error) => return report.unreadable.push((saga, describe(&error))),
    };
    let state = known.state();
    let mut problem = None;
    for (index, step) in state.steps().iter().enumerate() {
        let bound = &blueprint.steps[state.origin(index)];
        // What a fan-out or a wait left is in its items, or nothing.
        let left = step.output().filter(|_| step.item().is_some() || state.items(index).next().is_none());
        let left = left.map_or(Ok(()), |output| bound.accepts(output));
        // What has begun is asked for its input again, to be tried again or undone.
        let begun = step.input().is_some() && problem.is_none();
        let input = if begun { bound.prepare(Op::Run, index, &Outputs::of(state)).map(drop) } else { Ok(()) };
        if let Err(error) = left.and(input) {
            problem = problem.or(Some(Undecodable {
                saga,
                step: step.name().clone(),
                error: describe(&blueprint.withhold(error)),
            }));
        }
    }
    match problem {
        Some(problem) => report.undecodable.push(problem),
        None => *report.continues.entry((definition.clone(), version)).or_default() += 1,
    }
}
