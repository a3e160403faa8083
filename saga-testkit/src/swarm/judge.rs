//! What came of a run: the checker of [`saga_core::verify`], and the kit's own invariants over each saga.

use std::collections::{BTreeMap, BTreeSet};

use saga_core::journal::{End, SagaHeader, SagaStatus};
use saga_core::machine::Record;
use saga_core::{Engine, IdempotencyKey, Kind, Op, SagaId};

use super::play::{Play, lost, name, unread};
use crate::invariant::{self, Invariant, Problem, Told, View};
use crate::sim::{Cast, Effect};

/// Checks everything, and counts what was seen.
pub(super) async fn judge(play: &Play) -> Result<BTreeMap<&'static str, u64>, Problem> {
    if let Some(found) = play.net.stale().into_iter().next() {
        return Problem::err(Invariant::History, found);
    }
    let engine = auditor(play).await?;
    let report = engine.verify(None).await.map_err(unread)?;
    if let Some(violation) = report.violations.first() {
        return Problem::err(Invariant::History, violation.to_string());
    }
    let sagas = read(play, &engine).await?;
    for start in &play.stage.starts {
        let is_it = |header: &SagaHeader| (&header.definition, &header.key) == (&start.definition, &start.key);
        if !sagas.iter().any(|saga| is_it(&saga.summary.header)) {
            return Err(lost(format!("{}/{} was started, and is not there", start.definition, start.key)));
        }
    }
    for saga in &sagas {
        if let Some(cast) = play.stage.casts.iter().find(|cast| cast.definition == saga.summary.header.definition) {
            alone(play, cast, saga)?;
        }
        beside_its_parent(&sagas, saga)?;
    }
    Ok(seen(play, &sagas))
}

/// Whether every event that was committed has reached the broker.
pub(super) async fn is_published(play: &Play) -> Result<bool, Problem> {
    let engine = auditor(play).await?;
    let sagas = read(play, &engine).await?;
    let state = play.net.sim.locked();
    let arrived: BTreeSet<&str> = state.published.iter().map(|(_, event)| event.as_str()).collect();
    Ok(sagas.iter().all(|saga| events(play, saga).iter().all(|event| arrived.contains(event.as_str()))))
}

/// An engine with nothing between it and the journal.
async fn auditor(play: &Play) -> Result<Engine, Problem> {
    let engine = Engine::builder(play.net.sim.store.clone()).client_only();
    play.stage.cast_in(engine).open().await.map_err(unread)
}

async fn read(play: &Play, engine: &Engine) -> Result<Vec<Told>, Problem> {
    let mut sagas = Vec::new();
    for summary in play.sagas().await? {
        let turns = engine.history(summary.header.id).await.map_err(unread)?.unwrap_or_default();
        sagas.push(Told { summary, turns });
    }
    Ok(sagas)
}

/// One saga, with all that is its own.
fn alone(play: &Play, cast: &Cast, saga: &Told) -> Result<(), Problem> {
    let (id, header) = (saga.summary.header.id, &saga.summary.header);
    let state = play.net.sim.locked();
    let effects: Vec<Effect> = state.effects.all().iter().filter(|effect| effect.saga == Some(id)).cloned().collect();
    let published: Vec<(SagaId, String)> = state.published.iter().filter(|(from, _)| *from == id).cloned().collect();
    drop(state);
    let told = play.told();
    let own = |(definition, key, _): &&(String, String, String)| *definition == header.definition && *key == header.key;
    let signalled: Vec<String> = told.accepted.iter().filter(own).map(|(_, _, id)| id.clone()).collect();
    let otherwise = |(definition, key, end): &&(String, String, End)| {
        (definition, key) == (&header.definition, &header.key) && saga.summary.status != SagaStatus::Ended(*end)
    };
    if let Some((.., end)) = told.ends.iter().find(otherwise) {
        let found = format!("{}: somebody was told {end:?}, and it is {:?}", name(&saga.summary), saga.summary.status);
        return Problem::err(Invariant::History, found);
    }
    drop(told);
    let sagas = std::slice::from_ref(saga);
    let view = View {
        cast,
        sagas,
        letters: &[],
        effects: &effects,
        locks: &[],
        published: &published,
        signalled: &signalled,
        alone: false,
        over: true,
    };
    if let Some(Problem { invariant, found }) = invariant::check(&view) {
        return Problem::err(invariant, format!("{}: {found}", name(&saga.summary)));
    }
    in_order(play, saga, &published)
}

/// Events reach the broker for the first time in the order in which they were committed.
fn in_order(play: &Play, saga: &Told, published: &[(SagaId, String)]) -> Result<(), Problem> {
    let mut first: Vec<&str> = Vec::new();
    for (_, event) in published {
        if !first.contains(&event.as_str()) {
            first.push(event);
        }
    }
    let committed = events(play, saga);
    if committed.iter().map(String::as_str).ne(first.iter().copied()) {
        let found =
            format!("{}: events were committed as {committed:?}, and arrived as {first:?}", name(&saga.summary));
        return Problem::err(Invariant::Events, found);
    }
    Ok(())
}

/// The ids of the events that the saga has committed, in order.
fn events(play: &Play, saga: &Told) -> Vec<String> {
    let header = &saga.summary.header;
    let Some(cast) = play.stage.casts.iter().find(|cast| cast.definition == header.definition) else {
        return Vec::new();
    };
    let publishes = |record: &Record| match record {
        Record::Done { step, .. }
            if cast.planned(step.as_str()).is_some_and(|planned| planned.kind == Kind::Publish) =>
        {
            Some(IdempotencyKey::of(header.id, step, Op::Run, 0).to_string())
        }
        _ => None,
    };
    saga.records().filter_map(publishes).collect()
}

/// A child ends as its parent does.
fn beside_its_parent(sagas: &[Told], saga: &Told) -> Result<(), Problem> {
    let Some(Record::Started { parent: Some(parent), .. }) = saga.records().next() else { return Ok(()) };
    let is_parent = |other: &&Told| {
        let header = &other.summary.header;
        header.definition == parent.definition && header.key == parent.key
    };
    let Some(parent) = sagas.iter().find(is_parent) else {
        return Err(lost(format!("{} has no parent", name(&saga.summary))));
    };
    let completed = SagaStatus::Ended(End::Completed);
    if saga.summary.status == completed && parent.summary.status != completed {
        let (child, parent) = (name(&saga.summary), name(&parent.summary));
        return Problem::err(Invariant::AllOrNothing, format!("{child} is completed, and its parent {parent} is not"));
    }
    Ok(())
}

fn seen(play: &Play, sagas: &[Told]) -> BTreeMap<&'static str, u64> {
    let count = |is: &dyn Fn(&Told) -> bool| sagas.iter().filter(|saga| is(saga)).count() as u64;
    let has = |is: fn(&Record) -> bool| count(&move |saga: &Told| saga.records().any(is));
    let ended = |end| count(&move |saga: &Told| saga.summary.status == SagaStatus::Ended(end));
    let (late_signals, ends_told) = {
        let told = play.told();
        (told.late, told.ends.len() as u64)
    };
    BTreeMap::from([
        ("sagas", sagas.len() as u64),
        ("completed", ended(End::Completed)),
        ("rolled_back", ended(End::RolledBack)),
        ("needs_attention", has(|record| matches!(record, Record::NeedsAttention { .. }))),
        ("interrupted", has(|record| matches!(record, Record::Interrupted { .. }))),
        ("children", has(|record| matches!(record, Record::Started { parent: Some(_), .. }))),
        ("recalled", has(|record| matches!(record, Record::Reopened))),
        ("locked", has(|record| matches!(record, Record::Locking { .. }))),
        ("signalled", has(|record| matches!(record, Record::Signalled { .. }))),
        ("late_signals", late_signals),
        ("ends_told", ends_told),
        ("waited", has(|record| matches!(record, Record::Sleeping { .. }))),
        ("probed", has(|record| matches!(record, Record::Probed { .. }))),
        ("events", play.net.sim.locked().published.len() as u64),
        ("turns", sagas.iter().map(|saga| saga.turns.len() as u64).sum()),
        (
            "taken_over",
            count(&|saga: &Told| saga.turns.iter().filter_map(|turn| turn.epoch).collect::<BTreeSet<_>>().len() > 1),
        ),
    ])
}
