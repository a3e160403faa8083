//! The worker: holds a lease, renews it, claims what is due, and takes over from workers whose
//! leases have lapsed. When it loses its own lease it begins again under a new epoch.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::drive::{Driver, quarantine};
use super::incarnation::{Hold, Incarnation, outage_delay};
use super::mailbox::deliver;
use super::saga::{Saga, describe, moment};
use super::supervise::supervise;
use super::{Inner, alert, housekeeping, relay, telemetry};
use crate::id::SagaId;
use crate::journal::{Claimed, History, JournalError, Lease, SagaHeader};
use crate::seeded::seeded;
use crate::time::Timestamp;

/// How many sagas one claim takes: enough to take over thousands within a second, few enough to
/// load within milliseconds.
const CLAIM_MAX: usize = 500;
/// How long a closing worker goes on trying to hand its sagas back. After that their lease lapses.
const CLOSE_MAX: Duration = Duration::from_secs(5);
/// How much of that its last events may take: a broker that does not answer keeps no saga from being handed back.
const PUBLISHING_MAX: Duration = Duration::from_secs(3);
/// How often to look for leases that have lapsed, where polls are not rarer: what the sagas of a worker that crashed
/// wait beyond its lease.
const FENCE_EVERY: Duration = Duration::from_secs(1);

/// Opens the first lease and starts the worker's loops.
pub(crate) async fn begin(inner: &Arc<Inner>, name: String) -> Result<(), JournalError> {
    let mut first = Some(open(inner, &name).await?);
    inner.loops.spawn(supervise(inner.clone(), "alert", alert::run));
    inner.loops.spawn(supervise(inner.clone(), "housekeeping", housekeeping::run));
    if let Some(publisher) = inner.options.publisher.clone() {
        inner.loops.spawn(supervise(inner.clone(), "relay", move |inner| relay::run(inner, publisher.clone())));
    }
    inner.loops.spawn(supervise(inner.clone(), "worker", move |inner| run(inner, name.clone(), first.take())));
    Ok(())
}

async fn open(inner: &Arc<Inner>, name: &str) -> Result<Arc<Incarnation>, JournalError> {
    let asked = Instant::now();
    let (lease, now) = inner.journal.open_lease(name, inner.options.lease_ttl).await?;
    inner.clock.set(now);
    let valid_until = asked + safe_ttl(inner);
    let incarnation = Arc::new(Incarnation::new(inner, lease, valid_until));
    inner.set_incarnation(Some(incarnation.clone()));
    info!(worker = name, epoch = %lease.epoch, "holding a lease");
    Ok(incarnation)
}

/// For how long after asking for a renewal the lease is certainly valid: a sixth is kept as margin
/// for clocks that run at different speeds.
fn safe_ttl(inner: &Inner) -> Duration {
    inner.options.lease_ttl * 5 / 6
}

/// Holds a lease and works under it, and under the next one when it is lost, until the worker stops. Without a first
/// one it has panicked before: nobody renews what it held then.
async fn run(inner: Arc<Inner>, name: String, first: Option<Arc<Incarnation>>) {
    if let (None, Some(left)) = (&first, inner.incarnation()) {
        left.lost.cancel();
        inner.set_incarnation(None);
    }
    let mut next = first;
    loop {
        let incarnation = match next.take() {
            Some(incarnation) => incarnation,
            None => match reopen(&inner, &name).await {
                Some(incarnation) => incarnation,
                None => return,
            },
        };
        tokio::select! {
            biased;
            () = incarnation.lost.cancelled() => {}
            () = heartbeat(&inner, &incarnation) => {}
            () = work(&inner, &incarnation) => return close(&inner, &incarnation).await,
        }
        inner.set_incarnation(None);
        if inner.alive.is_cancelled() {
            return;
        }
        telemetry::lease_lost();
        warn!(worker = name, epoch = %incarnation.epoch(), "the lease is lost; its sagas belong to other workers now");
    }
}

/// A new lease after one was lost; none when the engine stops first.
async fn reopen(inner: &Arc<Inner>, name: &str) -> Option<Arc<Incarnation>> {
    for tries in 0.. {
        match open(inner, name).await {
            Ok(incarnation) => return Some(incarnation),
            Err(problem) => warn!(%problem, tries, "no new lease; trying again"),
        }
        tokio::select! {
            biased;
            () = inner.draining.cancelled() => break,
            () = tokio::time::sleep(outage_delay(tries)) => {}
        }
    }
    None
}

/// Renews the lease three times in its span. Returns once it is lost.
async fn heartbeat(inner: &Inner, incarnation: &Incarnation) {
    let interval = inner.options.lease_ttl / 3;
    let mut tries = 0;
    loop {
        tokio::time::sleep(if tries == 0 { interval } else { outage_delay(tries).min(interval) }).await;
        let asked = Instant::now();
        match inner.journal.renew_lease(incarnation.lease, inner.options.lease_ttl).await {
            Ok(now) => {
                inner.clock.set(now);
                incarnation.renewed(asked + safe_ttl(inner));
                tries = 0;
            }
            Err(JournalError::Fenced { .. }) => {
                incarnation.lost.cancel();
                return;
            }
            Err(problem) => {
                tries += 1;
                warn!(epoch = %incarnation.epoch(), %problem, tries, "the lease was not renewed; trying again");
            }
        }
    }
}

/// Claims until the worker is shut down, then waits for the sagas in flight.
async fn work(inner: &Arc<Inner>, incarnation: &Arc<Incarnation>) {
    let mut fence_at = Instant::now();
    let mut outages = 0;
    while !inner.draining.is_cancelled() {
        if !incarnation.is_live() {
            tokio::select! {
                biased;
                () = inner.draining.cancelled() => continue,
                // Once it is lost, the caller begins again.
                live = incarnation.live() => if !live { return std::future::pending().await },
            }
            // The journal was out of reach, perhaps for the others as well: leave them time to renew
            // their leases before any is called lapsed.
            fence_at = Instant::now() + inner.options.lease_ttl;
        }
        if Instant::now() >= fence_at {
            fence(inner).await;
            fence_at = Instant::now() + FENCE_EVERY.min(inner.options.lease_ttl / 3);
        }
        let poll_at = Instant::now() + inner.options.poll_interval;
        let claimed = claim(inner, incarnation).await;
        // What the round had taken of slots and has not used is free again.
        inner.vacated.notify_one();
        let wake_at = match claimed {
            Ok(Round::Full) => continue,
            Ok(Round::Partial { next_due_at }) => {
                outages = 0;
                let due = [next_due_at, inner.take_due_hint()].into_iter().flatten().min();
                due.map_or(poll_at, |due| inner.clock.instant(due).min(poll_at))
            }
            Err(JournalError::Fenced { .. }) => {
                incarnation.lost.cancel();
                return std::future::pending().await;
            }
            Err(problem) => {
                warn!(%problem, "no claim; trying again");
                // It may have been made all the same, and only its answer lost.
                if !seeded("M26") {
                    inner.claims.reconcile_next_round();
                }
                outages += 1;
                Instant::now() + outage_delay(outages)
            }
        };
        tokio::select! {
            biased;
            () = inner.draining.cancelled() => {}
            () = inner.claims.woken() => {}
            () = tokio::time::sleep_until(wake_at) => {}
            () = inner.journal.wait_for_work(wake_at.saturating_duration_since(Instant::now())) => {}
        }
    }
    inner.drivers.wait().await;
}

/// Fences leases that have lapsed; their sagas are then there to be claimed.
async fn fence(inner: &Inner) {
    match inner.journal.fence_lapsed().await {
        Ok(fenced) => fenced.iter().for_each(|epoch| warn!(%epoch, "fenced a lease that had lapsed")),
        Err(problem) => warn!(%problem, "lapsed leases cannot be fenced; trying again"),
    }
}

enum Round {
    /// There may be more at once.
    Full,
    Partial {
        next_due_at: Option<Timestamp>,
    },
}

/// Claims as many sagas as there are free slots, and starts their drivers.
async fn claim(inner: &Arc<Inner>, incarnation: &Arc<Incarnation>) -> Result<Round, JournalError> {
    let Some(mut slots) = slots(inner).await else { return Ok(Round::Partial { next_due_at: None }) };
    if inner.claims.take_reconcile() {
        adopt_strays(inner, incarnation, &mut slots).await?;
    }
    let (mut full, mut due, mut delivered) = (false, None, false);
    for (definitions, room) in wanted(inner) {
        let limit = slots.num_permits().min(room);
        if limit == 0 {
            // Whoever leaves a full room tells; without a slot there is nothing to claim for.
            full |= slots.num_permits() == 0;
            continue;
        }
        let claim = inner.journal.claim(incarnation.lease, &definitions, limit).await?;
        full |= claim.sagas.len() == slots.num_permits();
        due = [due, claim.next_due_at].into_iter().flatten().min();
        let taken_over = claim.sagas.iter().filter(|saga| saga.crashed).count();
        if taken_over > 0 {
            telemetry::taken_over(taken_over);
            info!(sagas = taken_over, epoch = %incarnation.epoch(), "took over sagas of a worker that is gone");
        }
        if !claim.sagas.is_empty() {
            take_in(inner, incarnation, claim.sagas, &mut slots).await?;
            delivered = true;
        }
    }
    if !delivered {
        deliver(inner, incarnation).await?;
    }
    Ok(if full { Round::Full } else { Round::Partial { next_due_at: due } })
}

/// The definitions to claim for, and for how many sagas: all that have no limit of their own together, and
/// each of the others by itself.
fn wanted(inner: &Inner) -> Vec<(Vec<(String, u32)>, usize)> {
    let mut groups: Vec<(Vec<(String, u32)>, usize)> = vec![(Vec::new(), usize::MAX)];
    for blueprint in inner.blueprints() {
        let definition = (blueprint.name.to_string(), blueprint.version);
        match inner.rooms.left(&blueprint.name) {
            None => groups[0].0.push(definition),
            Some(room) => match groups[1..].iter_mut().find(|(names, _)| names[0].0 == definition.0) {
                Some((versions, _)) => versions.push(definition),
                None => groups.push((vec![definition], room)),
            },
        }
    }
    groups
}

/// Free slots, at least one: waits for it. None when the worker stops first. All are one permit, from which each
/// saga's is split off: most rounds need none, and give it back at once.
async fn slots(inner: &Inner) -> Option<OwnedSemaphorePermit> {
    let mut slots = tokio::select! {
        biased;
        () = inner.draining.cancelled() => return None,
        first = inner.slots.clone().acquire_owned() => first.ok()?,
    };
    let more = u32::try_from(inner.slots.available_permits().min(CLAIM_MAX - 1)).unwrap_or(0);
    // What others take in between is left to them: a smaller claim is followed by another.
    if let Ok(more) = inner.slots.clone().try_acquire_many_owned(more) {
        slots.merge(more);
    }
    Some(slots)
}

/// Sagas that the journal says are ours and that nobody here works on: the answer of a claim or a
/// start was lost.
async fn adopt_strays(
    inner: &Arc<Inner>,
    incarnation: &Arc<Incarnation>,
    slots: &mut OwnedSemaphorePermit,
) -> Result<(), JournalError> {
    let owned = inner.journal.owned(incarnation.lease).await?;
    let mut strays: Vec<SagaHeader> = owned.into_iter().filter(|saga| incarnation.is_stray(saga.id)).collect();
    if strays.len() > slots.num_permits() {
        strays.truncate(slots.num_permits());
        inner.claims.reconcile_next_round();
    }
    if strays.is_empty() {
        return Ok(());
    }
    let strays = strays.into_iter().map(|header| Claimed { header, crashed: false }).collect();
    take_in(inner, incarnation, strays, slots).await
}

/// Loads claimed sagas and starts their drivers; hands out the messages to these and all others on the way.
async fn take_in(
    inner: &Arc<Inner>,
    incarnation: &Arc<Incarnation>,
    claimed: Vec<Claimed>,
    slots: &mut OwnedSemaphorePermit,
) -> Result<(), JournalError> {
    // Where there is no hold, its driver has parked it and still waits for the answer. Once it has let go, it is
    // taken up.
    let held = claimed.into_iter().filter_map(|saga| Some((incarnation.hold(saga.header.id)?, saga)));
    let held: Vec<(Hold, Claimed)> = held.collect();
    let ids: Vec<SagaId> = held.iter().map(|(_, saga)| saga.header.id).collect();
    // Each with its messages, or it would be parked again before they come.
    let (histories, delivered) = tokio::join!(load(inner, incarnation.lease, &ids), deliver(inner, incarnation));
    let Some(histories) = histories else {
        inner.claims.reconcile_next_round();
        return delivered;
    };
    for (hold, saga) in held {
        let id = saga.header.id;
        let (Some(history), Some(slot)) = (histories.get(&id), slots.split(1)) else {
            error!(saga.id = %id, "the journal has the saga and not its history");
            continue;
        };
        let driver = match revive(inner, history, saga.crashed) {
            Ok(saga) => {
                let saga = Box::new(saga);
                Driver { inner: inner.clone(), incarnation: incarnation.clone(), saga, hold }
            }
            Err(problem) => {
                let seq = u32::try_from(history.turns.len()).unwrap_or(u32::MAX);
                quarantine(incarnation, id, seq, problem).await;
                inner.alerts.notify_one();
                continue;
            }
        };
        driver.spawn(slot);
    }
    delivered
}

/// As [`revive_unguarded`]. A history that makes it panic is that saga's trouble, and no other's.
fn revive(inner: &Inner, history: &History, crashed: bool) -> Result<Saga, String> {
    let revived = catch_unwind(AssertUnwindSafe(|| revive_unguarded(inner, history, crashed)));
    revived.unwrap_or_else(|_may_quote_a_payload| Err("its history makes this worker panic".to_owned()))
}

/// Folds a history, and takes in that whatever was under way is now unknown.
fn revive_unguarded(inner: &Inner, history: &History, crashed: bool) -> Result<Saga, String> {
    let header = &history.header;
    let blueprint = inner
        .blueprint(&header.definition, header.version)
        .ok_or_else(|| format!("no definition {} version {}", header.definition, header.version))?;
    let mut saga = Saga::replay(blueprint.clone(), history).map_err(|error| describe(&error))?;
    saga.interrupt(crashed, moment(inner.clock.now(), &inner.limits)).map_err(|error| describe(&error))?;
    Ok(saga)
}

/// The histories by id; none when the lease is lost first.
async fn load(inner: &Inner, lease: Lease, ids: &[SagaId]) -> Option<HashMap<SagaId, History>> {
    for tries in 0..10 {
        match inner.journal.load(ids).await {
            Ok(histories) => return Some(histories.into_iter().map(|history| (history.header.id, history)).collect()),
            Err(problem) => {
                warn!(epoch = %lease.epoch, %problem, tries, "claimed sagas cannot be loaded; trying again")
            }
        }
        tokio::time::sleep(outage_delay(tries)).await;
    }
    None
}

/// Hands everything back and ends the lease.
async fn close(inner: &Arc<Inner>, incarnation: &Incarnation) {
    inner.set_incarnation(None);
    let closing = async {
        if tokio::time::timeout(PUBLISHING_MAX, relay::finish(inner, incarnation)).await.is_err() {
            warn!(epoch = %incarnation.epoch(), "not all events were published in time; another worker goes on with them");
        }
        for tries in 0.. {
            match inner.journal.close_lease(incarnation.lease).await {
                Ok(handed_back) => {
                    info!(epoch = %incarnation.epoch(), handed_back, "closed the lease");
                    return;
                }
                Err(problem) if problem.is_unavailable() => {
                    warn!(%problem, tries, "the lease cannot be closed; trying again");
                }
                Err(problem) => {
                    error!(%problem, "the lease cannot be closed");
                    return;
                }
            }
            tokio::time::sleep(outage_delay(tries)).await;
        }
    };
    if tokio::time::timeout(CLOSE_MAX, closing).await.is_err() {
        warn!(epoch = %incarnation.epoch(), "the lease was not closed in time; its sagas wait until it lapses");
    }
    incarnation.lost.cancel();
}
