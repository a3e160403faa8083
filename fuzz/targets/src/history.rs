//! Journal rows, a line each, as a saga's history: a worker runs it, or sets it aside, and goes on with others.

use saga_core::journal::{After, Journal as _, MemoryJournal, NewSaga, Standing, Turn};
use saga_core::{Digest, Timestamp};

use crate::world;

/// More turns say no more.
const TURNS_MAX: usize = 32;

/// Has a worker take up the lines as the history of a saga.
pub fn run(bytes: &[u8]) {
    let Some(lines) = crate::lines(bytes) else { return };
    world::in_no_time(async {
        let journal = MemoryJournal::new();
        for (nth, definition) in world::definitions().iter().enumerate() {
            write(&journal, definition.name(), nth, &lines[..lines.len().min(TURNS_MAX)]).await;
        }
        let engine = world::worker(&journal).await;
        for nth in 0..world::definitions().len() {
            // Whatever is in it: it is read, or it is said why not.
            engine.history(world::saga_id(nth)).await.ok();
        }
        engine.verify(None).await.unwrap();
        world::still_works(&engine).await;
    });
}

/// A history that another worker has left.
async fn write(journal: &MemoryJournal, definition: &str, nth: usize, lines: &[&str]) {
    let saga = NewSaga {
        id: world::saga_id(nth),
        definition: definition.to_owned(),
        version: 1,
        key: "order-1".to_owned(),
        input: Digest::of_text("1"),
        body: lines[0].to_owned(),
        nonce: 1,
    };
    let (lease, now) = journal.open_lease("another", std::time::Duration::from_secs(60)).await.unwrap();
    journal.start(Some(lease), std::slice::from_ref(&saga)).await.unwrap();
    for (line, seq) in lines[1..].iter().zip(1..) {
        let turn = Turn::new(saga.id, seq, i64::from(seq), (*line).to_owned(), After::Keep);
        journal.append(lease, &[turn]).await.unwrap();
    }
    let after = After::Park { wake_at: Some(Timestamp::from_micros(now.as_micros())), standing: Standing::Waiting };
    if lines.len() == 1 {
        // A start alone is handed back with its lease.
        journal.close_lease(lease).await.unwrap();
        return;
    }
    let seq = u32::try_from(lines.len()).unwrap();
    journal.append(lease, &[Turn::new(saga.id, seq, i64::from(seq), "[]".to_owned(), after)]).await.unwrap();
}
