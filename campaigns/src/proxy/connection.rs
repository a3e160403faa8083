//! One connection through the proxy.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::wire::{self, Exchanges, Fate, Received};
use super::{Knobs, Shared};

/// What a client says before it says anything else, to ask for encryption.
const ENCRYPTION: [u32; 2] = [80_877_103, 80_877_104];

/// Serves one client until one side closes, or it is cut.
pub(super) async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let mut resets = shared.resets.subscribe();
    resets.mark_unchanged();
    tokio::select! {
        // However it ends, both sides are closed then.
        _ = pass(client, &shared) => {}
        _ = resets.changed() => shared.counts().resets += 1,
    }
}

async fn pass(mut client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut server = TcpStream::connect(shared.upstream).await?;
    // Each message is passed on by itself.
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    loop {
        let Some(first) = wire::read(&mut client, false).await? else { return Ok(()) };
        let code = first.body().first_chunk().map(|code| u32::from_be_bytes(*code));
        if code.is_some_and(|code| ENCRYPTION.contains(&code)) {
            client.write_all(b"N").await?;
            continue;
        }
        server.write_all(&first.bytes).await?;
        break;
    }
    let exchanges = Mutex::default();
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::select! {
        done = requests(BufReader::new(from_client), to_server, &exchanges, shared) => done,
        done = answers(BufReader::new(from_server), to_client, &exchanges, shared) => done,
    }
}

fn locked(exchanges: &Mutex<Exchanges>) -> MutexGuard<'_, Exchanges> {
    exchanges.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns once the way is free.
async fn free(shared: &Shared, blocked: fn(&Knobs) -> bool) {
    let mut knobs = shared.knobs.subscribe();
    // The sender lives as long as the proxy.
    knobs.wait_for(|knobs| !blocked(knobs)).await.ok();
    let delay = shared.delay();
    if !delay.is_zero() {
        shared.counts().delayed += 1;
        tokio::time::sleep(delay).await;
    }
}

async fn requests(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    exchanges: &Mutex<Exchanges>,
    shared: &Shared,
) -> std::io::Result<()> {
    while let Some(message) = wire::read(&mut from, true).await? {
        free(shared, |knobs| knobs.no_requests).await;
        if locked(exchanges).sent(&message, shared.commits).is_some() {
            shared.counts().commits += 1;
            let chance = shared.knobs.borrow().cut_before_apply;
            if shared.draws(chance) {
                shared.counts().lost_requests += 1;
                return Ok(());
            }
        }
        if Exchanges::ends(&message) {
            let knobs = *shared.knobs.borrow();
            locked(exchanges).end(|what| match () {
                () if shared.is_cut() || shared.draws(knobs.cut_after_commit) => Fate::Cut(what),
                () if shared.draws(knobs.half_close) => Fate::Swallow(what),
                () => Fate::Pass,
            });
        }
        to.write_all(&message.bytes).await?;
    }
    to.shutdown().await
}

async fn answers(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    exchanges: &Mutex<Exchanges>,
    shared: &Shared,
) -> std::io::Result<()> {
    let mut kept = Vec::new();
    while let Some(message) = wire::read(&mut from, true).await? {
        let received = locked(exchanges).received(&message);
        match received {
            Received::Pass => {
                free(shared, |knobs| knobs.no_answers).await;
                to.write_all(&message.bytes).await?;
            }
            Received::Hold => kept.extend(message.bytes),
            Received::Release => {
                kept.extend(message.bytes);
                to.write_all(&kept).await?;
                kept.clear();
            }
            Received::Cut(what) => {
                *shared.counts().lost_commits.entry(what).or_default() += 1;
                return Ok(());
            }
            Received::Swallow(what) => {
                let mut counts = shared.counts();
                *counts.lost_commits.entry(what).or_default() += 1;
                counts.silent += 1;
                kept.clear();
            }
        }
    }
    Ok(())
}
