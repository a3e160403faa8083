//! Verifying a whole journal: every history of a registered definition, its row, its dead letters and its locks.

use std::collections::BTreeMap;

use super::Inner;
use super::handle::{HistoryTurn, opened_or_sealed};
use crate::definition::Blueprint;
use crate::id::SagaId;
use crate::journal::{DeadLetter, History, JournalError, ListFilter, SagaStatus, SagaSummary};
use crate::verify::{Evidence, Holding, Invariant, Violation, holdings, locks, saga, unreadable};

/// How many sagas are read together.
const PAGE: usize = 200;
/// How many locks and dead letters are looked at.
const ENTRIES_MAX: usize = 100_000;
/// How often a saga that moves meanwhile is read again.
const READS_MAX: u32 = 20;

/// What [`Engine::verify`](super::Engine::verify) found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// How many sagas were verified, by definition and version.
    pub verified: BTreeMap<(String, u32), u64>,
    /// How many were passed over, because their definition or its version is not registered.
    pub unregistered: BTreeMap<(String, u32), u64>,
    /// What is wrong.
    pub violations: Vec<Violation>,
}

impl VerifyReport {
    /// Whether nothing is wrong with what was verified.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

pub(crate) async fn verify(inner: &Inner, only: Option<SagaId>) -> Result<VerifyReport, JournalError> {
    let mut report = VerifyReport::default();
    let mut held = Vec::new();
    if let Some(saga) = only {
        if let Some(summary) = inner.journal.summary(saga).await? {
            look(inner, &summary, &mut report, &mut held).await?;
        }
        return Ok(report);
    }
    let mut filter = ListFilter::default();
    let letters = inner.journal.dead_letters(None, ENTRIES_MAX).await?;
    loop {
        let page = inner.journal.list(&filter, PAGE).await?;
        let Some(last) = page.last() else { break };
        filter.before = Some(last.header.id);
        let mut histories = together(inner, &page).await?;
        for summary in &page {
            let history = histories.remove(&summary.header.id);
            let (violations, holdings) = glance(inner, summary, history, &letters);
            // Whatever seems wrong is looked at more closely: it may have moved meanwhile.
            if violations.is_empty() {
                count(inner, summary, &mut report);
                held.extend(holdings);
            } else {
                look(inner, summary, &mut report, &mut held).await?;
            }
        }
    }
    report.violations.extend(verify_locks(inner, &held).await?);
    Ok(report)
}

/// The histories of a page of sagas; none of them when one cannot be read.
async fn together(inner: &Inner, page: &[SagaSummary]) -> Result<BTreeMap<SagaId, History>, JournalError> {
    let ids: Vec<SagaId> = page.iter().map(|summary| summary.header.id).collect();
    match inner.journal.load(&ids).await {
        Ok(histories) => Ok(histories.into_iter().map(|history| (history.header.id, history)).collect()),
        Err(JournalError::Corrupt { .. }) => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

/// What seems wrong with a saga of which the parts were read one after the other.
fn glance(
    inner: &Inner,
    summary: &SagaSummary,
    history: Option<History>,
    letters: &[DeadLetter],
) -> (Vec<Violation>, Vec<Holding>) {
    let saga = summary.header.id;
    let Some(blueprint) = inner.blueprint(&summary.header.definition, summary.header.version) else {
        return (Vec::new(), Vec::new());
    };
    let Some(history) = history else {
        return (vec![unreadable(saga, &JournalError::Corrupt { problem: "no history".to_owned() })], Vec::new());
    };
    let letters = letters.iter().filter(|letter| letter.saga == saga).cloned().collect();
    let status = Some(summary.status);
    judge(inner, blueprint, &Reading { saga, history: Ok(Some(history)), status, letters, is_still: false })
}

/// Counts the saga.
fn count(inner: &Inner, summary: &SagaSummary, report: &mut VerifyReport) {
    let header = &summary.header;
    let is_known = inner.blueprint(&header.definition, header.version).is_some();
    let counts = if is_known { &mut report.verified } else { &mut report.unregistered };
    *counts.entry((header.definition.clone(), header.version)).or_default() += 1;
}

async fn look(
    inner: &Inner,
    summary: &SagaSummary,
    report: &mut VerifyReport,
    held: &mut Vec<Holding>,
) -> Result<(), JournalError> {
    let header = &summary.header;
    let Some(blueprint) = inner.blueprint(&header.definition, header.version) else {
        count(inner, summary, report);
        return Ok(());
    };
    count(inner, summary, report);
    let mut found = Vec::new();
    for _ in 0..READS_MAX {
        let read = read(inner, header.id).await?;
        let (violations, holdings) = judge(inner, blueprint, &read);
        found = violations;
        // What moved while it was read is read again; what is wrong with it stays wrong.
        if found.is_empty() || read.is_still {
            held.extend(holdings);
            break;
        }
    }
    report.violations.extend(found);
    Ok(())
}

/// A saga as it was read, and whether it stood still meanwhile.
struct Reading {
    saga: SagaId,
    history: Result<Option<History>, JournalError>,
    status: Option<SagaStatus>,
    letters: Vec<DeadLetter>,
    is_still: bool,
}

async fn read(inner: &Inner, saga: SagaId) -> Result<Reading, JournalError> {
    let before = inner.journal.summary(saga).await?;
    let history = match inner.journal.load(&[saga]).await {
        Ok(found) => Ok(found.into_iter().next()),
        Err(corrupt @ JournalError::Corrupt { .. }) => Err(corrupt),
        Err(error) => return Err(error),
    };
    let letters = inner.journal.dead_letters(Some(saga), ENTRIES_MAX).await?;
    let again = inner.journal.load(&[saga]).await.map(|found| found.into_iter().next());
    let after = inner.journal.summary(saga).await?;
    let turns = |history: &Result<Option<History>, JournalError>| {
        history.as_ref().ok().and_then(Option::as_ref).map(|history| history.turns.len())
    };
    let is_still = before == after && turns(&history) == turns(&again);
    Ok(Reading { saga, history, status: before.map(|summary| summary.status), letters, is_still })
}

fn judge(inner: &Inner, blueprint: &Blueprint, read: &Reading) -> (Vec<Violation>, Vec<Holding>) {
    let history = match &read.history {
        Ok(Some(history)) => history,
        // Deleted meanwhile: its retention had run out.
        Ok(None) => return (Vec::new(), Vec::new()),
        Err(error) => return (vec![unreadable(read.saga, error)], Vec::new()),
    };
    let mut turns = Vec::with_capacity(history.turns.len());
    for (nth, stored) in history.turns.iter().enumerate() {
        match opened_or_sealed(inner, &history.header, &stored.body) {
            Ok(records) => turns.push(HistoryTurn { at: stored.at, epoch: stored.epoch, records }),
            Err(error) => {
                let finding = format!("turn {nth} cannot be read: {error}");
                return (vec![Violation::new(Invariant::Automaton, finding).of_saga(read.saga)], Vec::new());
            }
        }
    }
    let evidence = Evidence {
        header: &history.header,
        plan: &blueprint.plan,
        turns: &turns,
        status: read.status,
        letters: Some(&read.letters),
    };
    (saga(&evidence), holdings(&evidence))
}

/// The lines of entity locks, against the histories and against where their sagas stand.
async fn verify_locks(inner: &Inner, held: &[Holding]) -> Result<Vec<Violation>, JournalError> {
    let mut entries = Vec::new();
    for entry in inner.journal.locks(ENTRIES_MAX).await? {
        let status = inner.journal.summary(entry.saga).await?.map(|summary| summary.status);
        if matches!(status, None | Some(SagaStatus::Ended(_))) && !stands_in_line(inner, &entry).await? {
            // It ended between the two questions.
            continue;
        }
        entries.push((entry, status));
    }
    Ok(locks(held, &entries))
}

async fn stands_in_line(inner: &Inner, entry: &crate::journal::LockEntry) -> Result<bool, JournalError> {
    let now = inner.journal.locks(ENTRIES_MAX).await?;
    Ok(now.iter().any(|other| other.key == entry.key && other.saga == entry.saga))
}
