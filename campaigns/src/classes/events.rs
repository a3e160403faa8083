//! F13: signals that come before their saga, twice, too late, to nobody, under names that cannot be, and spoilt.

use std::sync::Arc;

use saga_core::engine::SignalError;
use tokio::task::JoinSet;

use crate::arena::Arena;
use crate::error::CampaignError;
use crate::ledger::Script;
use crate::notes::{Client, Notes};
use crate::sagas::{Order, SIGNAL};

/// How many sagas one flood is for.
const SAGAS: u64 = 24;
/// How many clients tell them something.
const CLIENTS: u64 = 4;
/// How many messages each is told, and how often each of them.
const MESSAGES: u64 = 3;
const TIMES: u64 = 25;
/// How many messages go to nobody, and how often each of them; and how many are on their way at a time.
const STRAYS: u64 = 5;

/// More than any payload may have.
const LARGE: usize = 8 * 1024 * 1024;

/// Signals to some sagas, all at once.
pub(super) async fn flood(arena: &mut Arena) -> Result<(), CampaignError> {
    let nth = arena.count("floods");
    arena.fire("floods");
    let mut senders = JoinSet::new();
    for client in 0..CLIENTS {
        let client = Arc::new(arena.client(format!("flood-{nth}-{client}")).await?);
        for saga in 0..SAGAS / CLIENTS {
            let client = client.clone();
            senders.spawn(async move { one(&client, format!("{}-{saga}", client.prefix)).await });
        }
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
async fn one(client: &Arc<Client>, key: String) -> (Notes, u64) {
    let (mut notes, mut poisoned) = (Notes::default(), 0);
    client.signal(&key, "early", &mut notes).await;
    let order = Order { number: 1, cents: 100, goods: 1, script: Script::Fine, ..Order::default() };
    client.start(|sagas| &sagas.payment, "payment", key.clone(), order, &mut notes).await;
    for message in 0..MESSAGES {
        for _ in 0..TIMES / STRAYS {
            told(client, &key, &format!("paid-{message}"), STRAYS, &mut notes).await;
        }
    }
    for message in 0..STRAYS {
        told(client, &format!("{key}-nobody"), &format!("lost-{message}"), STRAYS, &mut notes).await;
    }
    // What cannot be sent is refused before it is.
    let large = "x".repeat(LARGE);
    for refused in [
        client.engine.signal("payment", &key, SIGNAL, &large, &format!("{key}/large")).await.err(),
        client.engine.signal("payment", &key, "", &1_u64, &format!("{key}/nameless")).await.err(),
    ] {
        match refused {
            Some(SignalError::PayloadTooLarge { .. } | SignalError::BadName { .. }) => poisoned += 1,
            other => notes.odd.push(format!("a signal that cannot be was answered with {other:?}")),
        }
    }
    told(client, &key, "late", STRAYS, &mut notes).await;
    (notes, poisoned)
}

/// Sends one message so often, all at once.
async fn told(client: &Arc<Client>, key: &str, what: &str, times: u64, notes: &mut Notes) {
    let mut sending = JoinSet::new();
    for _ in 0..times {
        let (client, key, what) = (client.clone(), key.to_owned(), what.to_owned());
        sending.spawn(async move {
            let mut notes = Notes::default();
            client.signal(&key, &what, &mut notes).await;
            notes
        });
    }
    while let Some(sent) = sending.join_next().await {
        match sent {
            Ok(sent) => notes.extend(sent),
            Err(panicked) => notes.odd.push(format!("{what}: {panicked}")),
        }
    }
}
