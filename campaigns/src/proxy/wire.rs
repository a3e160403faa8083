//! The wire protocol of Postgres, as far as it must be understood: messages and their frames, and which
//! exchange commits something.

use std::collections::{HashMap, VecDeque};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Tells what a statement commits, for counting; none when it commits nothing.
pub type Commits = fn(&str) -> Option<&'static str>;

/// The largest message that is taken for one.
const MESSAGE_MAX: usize = 1 << 28;

/// What of the journal's statements commits something.
#[must_use]
pub fn journal_commits(sql: &str) -> Option<&'static str> {
    const CALLS: [(&str, &str); 11] = [
        (".append(", "append"),
        (".append_with_events(", "append"),
        (".append_with_effects(", "append"),
        (".start(", "start"),
        (".claim(", "claim"),
        (".claim_one(", "claim"),
        (".send(", "send"),
        (".relay(", "relay"),
        (".settle(", "settle"),
        (".close_lease(", "lease"),
        (".fence_lapsed(", "fence"),
    ];
    let sql = sql.trim();
    if let Some((_, kind)) = CALLS.iter().find(|(call, _)| sql.contains(call)) {
        return Some(kind);
    }
    let first = sql.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    match first.trim_end_matches(';') {
        "COMMIT" => Some("commit"),
        "INSERT" | "UPDATE" | "DELETE" => Some("lease"),
        _ => None,
    }
}

/// A message with its frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Its type; none for the first one of a connection.
    pub(super) kind: Option<u8>,
    /// All of its bytes.
    pub(super) bytes: Vec<u8>,
}

impl Message {
    pub(super) fn body(&self) -> &[u8] {
        self.bytes.get(if self.kind.is_some() { 5 } else { 4 }..).unwrap_or_default()
    }
}

/// Reads one message; none at the end.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin), typed: bool) -> std::io::Result<Option<Message>> {
    let mut bytes = Vec::with_capacity(64);
    let kind = if typed {
        match from.read_u8().await {
            Ok(kind) => Some(kind),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
    } else {
        None
    };
    bytes.extend(kind);
    let length = match from.read_u32().await {
        Ok(length) => length,
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let left = usize::try_from(length).unwrap_or(usize::MAX);
    if !(4..=MESSAGE_MAX).contains(&left) {
        return Err(std::io::Error::other(format!("a message of {left} bytes")));
    }
    bytes.extend(length.to_be_bytes());
    // Memory for what came, and not for what was promised.
    let body = left - 4;
    let read = from.take(body as u64).read_to_end(&mut bytes).await?;
    if read < body {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(Message { kind, bytes }))
}

/// Takes in all that a client and a server have said to each other, as the connections of the proxy do: how many
/// messages they were.
///
/// # Errors
/// When one of them does not speak the protocol.
pub async fn overhear(mut client: &[u8], mut server: &[u8]) -> std::io::Result<usize> {
    let mut exchanges = Exchanges::default();
    let mut messages = 0;
    while let Some(message) = read(&mut client, true).await? {
        exchanges.sent(&message, journal_commits);
        if Exchanges::ends(&message) {
            exchanges.end(Fate::Cut);
        }
        messages += 1;
    }
    while let Some(message) = read(&mut server, true).await? {
        exchanges.received(&message);
        messages += 1;
    }
    Ok(messages)
}

/// What is to become of the answer of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Pass,
    /// Cut, if it says that something was committed.
    Cut(&'static str),
    /// Swallowed, if it says that something was committed, and the connection left open.
    Swallow(&'static str),
}

/// What is known of a connection's exchanges: each ends with a `ReadyForQuery`.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    statements: HashMap<Vec<u8>, String>,
    portals: HashMap<Vec<u8>, String>,
    /// What the exchange that is being sent commits.
    sending: Option<&'static str>,
    /// The exchanges that were sent and not answered.
    pending: VecDeque<Fate>,
    fate: Option<Fate>,
    committed: bool,
    failed: bool,
}

impl Exchanges {
    /// Takes note of a message to the server. What it commits is returned with the message that executes it.
    pub(super) fn sent(&mut self, message: &Message, commits: Commits) -> Option<&'static str> {
        let body = message.body();
        match message.kind {
            Some(b'Q') => {
                let sql = text(body).0;
                self.sending = commits(&String::from_utf8_lossy(sql));
                self.sending
            }
            Some(b'P') => {
                let (name, rest) = text(body);
                let sql = String::from_utf8_lossy(text(rest).0).into_owned();
                self.statements.insert(name.to_vec(), sql);
                None
            }
            Some(b'B') => {
                let (portal, rest) = text(body);
                let sql = self.statements.get(text(rest).0).cloned().unwrap_or_default();
                self.portals.insert(portal.to_vec(), sql);
                None
            }
            Some(b'E') => {
                let sql = self.portals.get(text(body).0).map(String::as_str).unwrap_or_default();
                self.sending = self.sending.or(commits(sql));
                commits(sql)
            }
            _ => None,
        }
    }

    /// Whether the message ends what the server answers with a `ReadyForQuery`.
    pub(super) fn ends(message: &Message) -> bool {
        matches!(message.kind, Some(b'Q' | b'S'))
    }

    /// The exchange is sent: what it commits, and what is to become of its answer.
    pub(super) fn end(&mut self, fate: impl FnOnce(&'static str) -> Fate) {
        let fate = self.sending.take().map_or(Fate::Pass, fate);
        self.pending.push_back(fate);
    }

    /// Takes note of a message from the server: what becomes of it.
    pub(super) fn received(&mut self, message: &Message) -> Received {
        let Some(kind) = message.kind else { return Received::Pass };
        let fate = *self.fate.get_or_insert_with(|| self.pending.front().copied().unwrap_or(Fate::Pass));
        match kind {
            b'C' => self.committed = true,
            b'E' => self.failed = true,
            _ => {}
        }
        if kind != b'Z' {
            return if fate == Fate::Pass { Received::Pass } else { Received::Hold };
        }
        self.pending.pop_front();
        self.fate = None;
        let outside = message.body() == b"I";
        let made = std::mem::take(&mut self.committed) && !std::mem::take(&mut self.failed) && outside;
        match fate {
            Fate::Cut(what) if made => Received::Cut(what),
            Fate::Swallow(what) if made => Received::Swallow(what),
            Fate::Pass => Received::Pass,
            Fate::Cut(_) | Fate::Swallow(_) => Received::Release,
        }
    }
}

/// What becomes of a message from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    Pass,
    /// Kept until the exchange is over.
    Hold,
    /// Nothing was committed: it passes, with all that was kept.
    Release,
    /// It was committed, and nobody is to know.
    Cut(&'static str),
    /// Likewise, without a word.
    Swallow(&'static str),
}

/// A text that ends with a zero, and what follows.
fn text(body: &[u8]) -> (&[u8], &[u8]) {
    match body.iter().position(|&byte| byte == 0) {
        Some(end) => (&body[..end], &body[end + 1..]),
        None => (body, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Message {
        let mut bytes = vec![kind];
        bytes.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        bytes.extend(body);
        Message { kind: Some(kind), bytes }
    }

    #[tokio::test]
    async fn messages_come_in_frames() {
        let two = [message(b'Q', b"SELECT 1\0").bytes, message(b'S', b"").bytes].concat();
        let mut from = &two[..];
        assert_eq!(read(&mut from, true).await.unwrap().unwrap().body(), b"SELECT 1\0");
        assert_eq!(read(&mut from, true).await.unwrap().unwrap().kind, Some(b'S'));
        assert_eq!(read(&mut from, true).await.unwrap(), None);
        assert!(read(&mut &[b'Q', 0, 0, 0, 1][..], true).await.is_err());
    }

    #[test]
    fn an_autocommitted_write_is_cut_after_its_whole_answer() {
        let mut exchanges = Exchanges::default();
        for message in [message(b'P', b"s1\0SELECT saga.append($1)\0\0\0"), message(b'B', b"\0s1\0\0\0")] {
            assert_eq!(exchanges.sent(&message, journal_commits), None);
        }
        assert_eq!(exchanges.sent(&message(b'E', b"\0\0\0\0\0"), journal_commits), Some("append"));
        assert!(Exchanges::ends(&message(b'S', b"")));
        exchanges.end(Fate::Cut);
        assert_eq!(exchanges.received(&message(b'2', b"")), Received::Hold);
        assert_eq!(exchanges.received(&message(b'C', b"SELECT 1\0")), Received::Hold);
        assert_eq!(exchanges.received(&message(b'Z', b"I")), Received::Cut("append"));
    }

    #[test]
    fn what_failed_or_is_in_a_transaction_was_not_committed() {
        let mut exchanges = Exchanges::default();
        for (answer, status) in [(b'E', b"I"), (b'C', b"T")] {
            exchanges.sent(&message(b'Q', b"INSERT INTO t\0"), journal_commits);
            exchanges.end(Fate::Cut);
            assert_eq!(exchanges.received(&message(answer, b"")), Received::Hold);
            assert_eq!(exchanges.received(&message(b'Z', status)), Received::Release);
        }
        exchanges.sent(&message(b'Q', b"COMMIT\0"), journal_commits);
        exchanges.end(Fate::Cut);
        exchanges.received(&message(b'C', b"COMMIT\0"));
        assert_eq!(exchanges.received(&message(b'Z', b"I")), Received::Cut("commit"));
    }

    #[test]
    fn reads_pass() {
        let mut exchanges = Exchanges::default();
        assert_eq!(exchanges.sent(&message(b'Q', b"SELECT * FROM saga.load($1)\0"), journal_commits), None);
        exchanges.end(Fate::Cut);
        assert_eq!(exchanges.received(&message(b'C', b"")), Received::Pass);
        assert_eq!(exchanges.received(&message(b'Z', b"I")), Received::Pass);
    }
}
