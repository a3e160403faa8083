//! F13: signals that come before their saga, twice, too late, to nobody, under names that cannot be, and spoilt.

use saga_core::engine::SignalError;
use tokio::task::JoinSet;

use crate::arena::Arena;
use crate::error::CampaignError;
use crate::ledger::Script;
use crate::notes::{Client, Notes};
use crate::sagas::{Order, SIGNAL};

/// How many sagas one flood is for.
const SAGAS: u64 = 24;
/// How often each message is sent.
const TIMES: u64 = 6;

/// Signals to some sagas, all at once.
pub(super) async fn flood(arena: &mut Arena) -> Result<(), CampaignError> {
    let nth = arena.count("floods");
    arena.fire("floods");
    let mut senders = JoinSet::new();
    for saga in 0..SAGAS {
        let client = arena.client(format!("flood-{nth}-{saga}")).await?;
        senders.spawn(async move { one(client).await });
    }
    while let Some(sent) = senders.join_next().await {
        let (notes, poisoned) = sent?;
        let late = notes.sent.iter().filter(|sent| sent.follow_up.is_some()).count() as u64;
        let nobody = notes.sent.iter().filter(|sent| sent.key.ends_with("nobody")).count() as u64;
        for (what, count) in
            [("signals", notes.sent.len() as u64), ("late", late), ("to_nobody", nobody), ("poisoned", poisoned)]
        {
            *arena.fired.entry(what).or_default() += count;
        }
        arena.notes.extend(notes);
    }
    arena.progress.fired(&arena.fired);
    Ok(())
}

/// What one saga is told, by one who does not listen.
async fn one(client: Client) -> (Notes, u64) {
    let (mut notes, mut poisoned) = (Notes::default(), 0);
    let key = client.prefix.clone();
    client.signal(&key, "early", &mut notes).await;
    let order = Order { number: 1, cents: 100, goods: 1, script: Script::Fine, ..Order::default() };
    client.start(|sagas| &sagas.payment, "payment", key.clone(), order, &mut notes).await;
    for message in 0..TIMES {
        for _ in 0..TIMES {
            client.signal(&key, &format!("paid-{message}"), &mut notes).await;
        }
        client.signal(&format!("{key}-nobody"), &format!("lost-{message}"), &mut notes).await;
    }
    // What cannot be sent is refused before it is.
    let large = "x".repeat(64 * 1024 * 1024);
    for refused in [
        client.engine.signal("payment", &key, SIGNAL, &large, &format!("{key}/large")).await.err(),
        client.engine.signal("payment", &key, "", &1_u64, &format!("{key}/nameless")).await.err(),
    ] {
        match refused {
            Some(SignalError::PayloadTooLarge { .. } | SignalError::BadName { .. }) => poisoned += 1,
            other => notes.odd.push(format!("a signal that cannot be was answered with {other:?}")),
        }
    }
    for message in 0..TIMES {
        client.signal(&key, &format!("late-{message}"), &mut notes).await;
    }
    (notes, poisoned)
}
