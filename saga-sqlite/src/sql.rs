//! Every statement of the journal, and how many rows go into one. All values are bound.

use std::sync::{Arc, LazyLock};

use sqlx::AssertSqlSafe;
use sqlx::error::ErrorKind;
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments};

/// A query with its arguments to be bound.
pub(crate) type Bound = Query<'static, Sqlite, SqliteArguments>;

/// How many rows one statement takes: a few fixed numbers, so that each is prepared once.
const CHUNKS: [usize; 8] = [256, 64, 32, 16, 8, 4, 2, 1];

/// Whether the statement was taken back for what it found in the tables.
pub(crate) fn is_violation(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    matches!(error.kind(), ErrorKind::UniqueViolation | ErrorKind::NotNullViolation)
}

/// Room for all statements of this module, each in all its sizes.
pub(crate) const STATEMENTS_MAX: usize = 250;

/// SQLite's clock, in microseconds.
pub(crate) const NOW: &str = "CAST(unixepoch('subsec') * 1000000 AS INTEGER)";

/// A statement over many rows: `{rows}` stands for the list of values.
pub(crate) struct Bulk([Arc<str>; CHUNKS.len()]);

impl Bulk {
    /// The rows are bound first, `columns` for each, and then so many `fixed` arguments, which are `{1}` and so on in
    /// the text. The rows' own have no numbers: sqlx looks each number up by going through all of them.
    fn new(sql: &str, fixed: usize, columns: usize) -> Self {
        let row = format!("({})", vec!["?"; columns].join(", "));
        Self(CHUNKS.map(|chunk| {
            let rows = sql.replace("{rows}", &vec![&*row; chunk].join(", "));
            let number = |sql: String, nth| sql.replace(&format!("{{{nth}}}"), &format!("?{}", chunk * columns + nth));
            (1..=fixed).fold(rows, number).into()
        }))
    }

    /// Cuts the rows into chunks, each with the statement that takes it.
    pub(crate) fn chunks<'r, T>(&self, mut rows: &'r [T]) -> Vec<(Bound, &'r [T])> {
        let mut chunks = Vec::new();
        for (size, sql) in CHUNKS.iter().zip(&self.0) {
            while rows.len() >= *size {
                let (chunk, rest) = rows.split_at(*size);
                // Made of the constants below and of numbered placeholders; no other text enters.
                chunks.push((sqlx::query(AssertSqlSafe(sql.clone())), chunk));
                rows = rest;
            }
        }
        chunks
    }

    /// The statement in all its sizes.
    #[cfg(test)]
    fn sizes(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|sql| sql.to_string())
    }
}

/// Turns of sagas that the lease ({1}) owns, where the turn before is there: all, or none and a violated constraint. (Of
/// what is not owned, or has no turn before it, the id is null.)
pub(crate) static APPEND_ALL: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "WITH t(saga_id, seq, nonce, ends, body) AS (VALUES {rows}) \
         INSERT INTO saga_turn (saga_id, seq, epoch, nonce, at, ends, body) \
         SELECT p.saga_id, t.seq, {1}, t.nonce, {2}, t.ends, t.body FROM t \
         LEFT JOIN saga_live l ON l.saga_id = t.saga_id AND l.owner = {1} \
         LEFT JOIN saga_turn p ON p.saga_id = l.saga_id AND p.seq = t.seq - 1",
        2,
        5,
    )
});

/// As [`APPEND_ALL`], of as many as may be written, and tells of which. CROSS JOIN keeps the order: SQLite looks the
/// rows up by their keys.
pub(crate) static APPEND: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "WITH t(saga_id, seq, nonce, ends, body) AS (VALUES {rows}) \
         INSERT INTO saga_turn (saga_id, seq, epoch, nonce, at, ends, body) \
         SELECT t.saga_id, t.seq, {1}, t.nonce, {2}, t.ends, t.body FROM t \
         CROSS JOIN saga_live l ON l.saga_id = t.saga_id AND l.owner = {1} \
         CROSS JOIN saga_turn p ON p.saga_id = t.saga_id AND p.seq = t.seq - 1 \
         WHERE true ON CONFLICT DO NOTHING RETURNING saga_id",
        2,
        5,
    )
});

/// New sagas, created at {1}: all, or none and a violated constraint.
pub(crate) static CREATE_ALL: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "WITH n(saga_id, definition, version, key, input) AS (VALUES {rows}) \
         INSERT INTO saga_instance (saga_id, definition, version, key, input, created_at) \
         SELECT n.saga_id, n.definition, n.version, n.key, n.input, {1} FROM n",
        1,
        5,
    )
});

/// As [`CREATE_ALL`], of those that are not there yet, and tells which.
pub(crate) static CREATE: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "WITH n(saga_id, definition, version, key, input) AS (VALUES {rows}) \
         INSERT INTO saga_instance (saga_id, definition, version, key, input, created_at) \
         SELECT n.saga_id, n.definition, n.version, n.key, n.input, {1} FROM n \
         WHERE true ON CONFLICT DO NOTHING RETURNING saga_id",
        1,
        5,
    )
});

/// First turns, written at {1} by the lease {2}.
pub(crate) static FIRST_TURN: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "WITH t(saga_id, nonce, body) AS (VALUES {rows}) \
         INSERT INTO saga_turn (saga_id, seq, epoch, nonce, at, body) \
         SELECT t.saga_id, 0, {2}, t.nonce, {1}, t.body FROM t",
        2,
        3,
    )
});

/// Live rows, owned by {1} or due at {2}.
pub(crate) static ENTER: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "WITH n(saga_id, definition, version) AS (VALUES {rows}) \
         INSERT INTO saga_live (saga_id, definition, version, owner, due_at) \
         SELECT n.saga_id, n.definition, n.version, {1}, {2} FROM n",
        2,
        3,
    )
});

/// Sagas that have ended leave the live table …
pub(crate) static LEAVE: LazyLock<Bulk> =
    LazyLock::new(|| Bulk::new("DELETE FROM saga_live WHERE saga_id IN (VALUES {rows})", 0, 1));

/// … and queue for their deletion, since {1}.
pub(crate) static END: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "WITH t(saga_id) AS (VALUES {rows}) INSERT INTO saga_ended (ended_at, saga_id) SELECT {1}, t.saga_id FROM t",
        1,
        1,
    )
});

/// What stands against ending these sagas, or has to be tidied up with them: the messages that nobody has
/// read, and a row without one for each entity lock.
pub(crate) static ENDING: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "WITH t(saga_id) AS (VALUES {rows}) \
         SELECT t.saga_id, m.message_id FROM t CROSS JOIN saga_instance s ON s.saga_id = t.saga_id \
         CROSS JOIN saga_message m ON m.definition = s.definition AND m.key = s.key WHERE m.read_seq IS NULL \
         UNION ALL SELECT t.saga_id, NULL FROM t CROSS JOIN saga_lock k ON k.saga_id = t.saga_id",
        0,
        1,
    )
});

/// Events of the lease {1}, written at {2}.
pub(crate) static PUBLISH: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "WITH t(event_id, saga_id, topic, headers, payload) AS (VALUES {rows}) \
         INSERT INTO saga_event (event_id, saga_id, owner, at, due_at, topic, headers, payload) \
         SELECT t.event_id, t.saga_id, {1}, {2}, {2}, t.topic, t.headers, t.payload FROM t \
         WHERE true ON CONFLICT DO NOTHING",
        2,
        5,
    )
});

/// Events that the lease {1} has published.
pub(crate) static PUBLISHED: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new("DELETE FROM saga_event WHERE event_id IN (VALUES {rows}) AND owner = {1} AND dead_at IS NULL", 1, 1)
});

/// Places at the end of lines: of the saga {1}, for the step {2}, with the arrival {3}, asked for at {4}.
pub(crate) static ASK: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "WITH t(key) AS (VALUES {rows}) INSERT INTO saga_lock (key, arrival, saga_id, step, asked_at) \
         SELECT t.key, {3}, {1}, {2}, {4} FROM t WHERE true ON CONFLICT DO NOTHING",
        4,
        1,
    )
});

/// Whole histories.
pub(crate) static LOAD: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "WITH i(saga_id) AS (VALUES {rows}) \
         SELECT s.saga_id, s.definition, s.version, s.key, s.input, s.created_at, t.seq, t.at, t.epoch, t.body FROM i \
         CROSS JOIN saga_instance s ON s.saga_id = i.saga_id CROSS JOIN saga_turn t ON t.saga_id = i.saga_id \
         ORDER BY t.saga_id, t.seq",
        0,
        1,
    )
});

macro_rules! statements {
    ($($name:ident = $sql:expr;)+) => {
        $(pub(crate) const $name: &str = $sql;)+

        #[cfg(test)]
        const SINGLE: &[(&str, &str)] = &[$((stringify!($name), $name),)+];
    };
}

statements! {
    HOLD_LEASE = "SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER) AS now FROM saga_lease \
        WHERE epoch = ? AND fenced_at IS NULL";
    OPEN_LEASE = "INSERT INTO saga_lease (worker, lease_until, opened_at) VALUES (?, ?, ?) RETURNING epoch";
    RENEW_LEASE = "UPDATE saga_lease SET lease_until = ? WHERE epoch = ?";
    LAPSED = "SELECT epoch FROM saga_lease WHERE fenced_at IS NULL AND lease_until < ? ORDER BY epoch";
    FENCE = "UPDATE saga_lease SET fenced_at = ? WHERE epoch = ?";
    FORGET_LEASES = "DELETE FROM saga_lease WHERE fenced_at < ? - 60000000 \
        AND NOT EXISTS (SELECT 1 FROM saga_live WHERE owner = epoch)";
    HAND_BACK = "UPDATE saga_live SET owner = NULL, due_at = ?, standing = 0 WHERE owner = ?";
    DROP_LEASE = "DELETE FROM saga_lease WHERE epoch = ?";
    STORE_OUTLINE = "INSERT INTO saga_definition (name, version, outline) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
    OUTLINE = "SELECT outline FROM saga_definition WHERE name = ? AND version = ?";
    BY_KEY = "SELECT saga_id, definition, version, key, input, created_at FROM saga_instance \
        WHERE definition = ? AND key = ?";
    TURN = "SELECT nonce, epoch FROM saga_turn WHERE saga_id = ? AND seq = ?";
    PARK = "UPDATE saga_live SET owner = NULL, due_at = ?, standing = ? WHERE saga_id = ?";
    WAKE = "UPDATE saga_live SET due_at = ?1 WHERE saga_id = ?2 AND owner IS NULL AND standing <> 4 AND (EXISTS (SELECT 1 \
        FROM saga_instance s CROSS JOIN saga_message m ON m.definition = s.definition AND m.key = s.key \
        WHERE s.saga_id = ?2 AND m.read_seq IS NULL) OR EXISTS (SELECT 1 FROM saga_lock k \
        WHERE k.saga_id = ?2 AND k.token IS NOT NULL AND k.read_seq IS NULL))";
    DUE_NOW = "UPDATE saga_live SET due_at = ?1 WHERE saga_id = ?2 AND owner IS NULL AND standing <> 4";
    NEXT_TURN = "SELECT 1 FROM saga_live l CROSS JOIN saga_turn p ON p.saga_id = l.saga_id AND p.seq = ?3 - 1 \
        WHERE l.saga_id = ?2 AND l.owner = ?1";
    GONE_OWNERS = "WITH RECURSIVE o(owner) AS (SELECT min(owner) FROM saga_event WHERE dead_at IS NULL UNION ALL \
        SELECT (SELECT min(e.owner) FROM saga_event e WHERE e.dead_at IS NULL AND e.owner > o.owner) FROM o \
        WHERE o.owner IS NOT NULL) SELECT o.owner FROM o WHERE o.owner IS NOT NULL AND NOT EXISTS (SELECT 1 \
        FROM saga_lease f WHERE f.epoch = o.owner AND f.fenced_at IS NULL)";
    TAKE_EVENTS = "UPDATE saga_event SET owner = ? WHERE owner = ? AND dead_at IS NULL";
    OUTBOX = "SELECT e.event_id, e.saga_id, e.at, e.attempts, e.topic, e.headers, e.payload FROM saga_event e \
        WHERE e.owner = ?1 AND e.dead_at IS NULL AND e.due_at <= ?2 AND NOT EXISTS (SELECT 1 FROM saga_event b \
        WHERE b.saga_id = e.saga_id AND b.dead_at IS NULL AND b.nth < e.nth AND (b.owner <> ?1 OR b.due_at > ?2)) \
        ORDER BY e.nth LIMIT ?3";
    NEXT_EVENT = "SELECT min(due_at) AS due_at FROM saga_event \
        WHERE owner = ?1 AND dead_at IS NULL AND attempts > 0 AND due_at > ?2";
    RETRY_EVENT = "UPDATE saga_event SET attempts = attempts + 1, due_at = ?, error = ? \
        WHERE event_id = ? AND owner = ? AND dead_at IS NULL";
    EVENT_DIED = "UPDATE saga_event SET attempts = attempts + 1, dead_at = ?, error = ? \
        WHERE event_id = ? AND owner = ? AND dead_at IS NULL";
    DEAD_EVENTS = "SELECT event_id, saga_id, at, attempts, topic, headers, payload, error FROM saga_event \
        WHERE dead_at IS NOT NULL ORDER BY nth LIMIT ?";
    REVIVE_EVENT = "UPDATE saga_event SET attempts = 0, dead_at = NULL, error = NULL, due_at = ? \
        WHERE event_id = ? AND dead_at IS NOT NULL";
    DROP_EVENT = "DELETE FROM saga_event WHERE event_id = ? AND dead_at IS NOT NULL";
    IN_LINE = "SELECT 1 FROM saga_lock WHERE saga_id = ? LIMIT 1";
    LOCK_NUMBER = "UPDATE saga_lock_number SET last = last + 1 RETURNING last";
    FIRST_IN_LINE = "SELECT saga_id, token FROM saga_lock WHERE key = ? ORDER BY arrival LIMIT 1";
    WAITS_IN_LINE = "SELECT 1 FROM saga_lock k CROSS JOIN saga_lock b ON b.key = k.key AND b.arrival < k.arrival \
        WHERE k.saga_id = ? LIMIT 1";
    GRANT = "UPDATE saga_lock SET token = ? WHERE saga_id = ? AND token IS NULL";
    READ_GRANT = "UPDATE saga_lock SET read_seq = ? WHERE saga_id = ? AND step = ? AND token IS NOT NULL";
    LEAVE_LINES = "DELETE FROM saga_lock WHERE saga_id = ? RETURNING key";
    GRANTED = "SELECT k.saga_id, k.step, k.key, k.token FROM saga_lock k \
        CROSS JOIN saga_live l ON l.saga_id = k.saga_id AND l.owner = ? \
        WHERE k.token IS NOT NULL AND k.read_seq IS NULL ORDER BY k.saga_id, k.key";
    LOCKS = "SELECT key, saga_id, token, asked_at FROM saga_lock ORDER BY key, arrival LIMIT ?";
    READ_MESSAGE = "UPDATE saga_message SET read_seq = ?1 WHERE message_id = ?3 AND (definition, key) = \
        (SELECT definition, key FROM saga_instance WHERE saga_id = ?2)";
    SENT = "SELECT 1 FROM saga_message WHERE definition = ? AND key = ? AND message_id = ?";
    SEND = "INSERT INTO saga_message (definition, key, message_id, sent_at, body) VALUES (?, ?, ?, ?, ?)";
    LIVES = "SELECT s.saga_id, l.saga_id IS NOT NULL AS lives FROM saga_instance s \
        LEFT JOIN saga_live l ON l.saga_id = s.saga_id WHERE s.definition = ? AND s.key = ?";
    INBOX = "SELECT s.saga_id, m.message_id, m.body FROM saga_live l \
        CROSS JOIN saga_instance s ON s.saga_id = l.saga_id \
        CROSS JOIN saga_message m ON m.definition = s.definition AND m.key = s.key \
        WHERE l.owner = ? AND m.read_seq IS NULL ORDER BY m.nth";
    DELETE_MESSAGES = "DELETE FROM saga_message WHERE (definition, key) = \
        (SELECT definition, key FROM saga_instance WHERE saga_id = ?)";
    ORPHANS = "SELECT 1 FROM saga_message m WHERE m.read_seq IS NULL \
        AND m.sent_at < CAST(unixepoch('subsec') * 1000000 AS INTEGER) - ? AND NOT EXISTS (SELECT 1 \
        FROM saga_instance s WHERE s.definition = m.definition AND s.key = m.key) LIMIT 1";
    DELETE_ORPHANS = "DELETE FROM saga_message WHERE read_seq IS NULL \
        AND sent_at < CAST(unixepoch('subsec') * 1000000 AS INTEGER) - ? AND NOT EXISTS (SELECT 1 \
        FROM saga_instance s WHERE s.definition = saga_message.definition AND s.key = saga_message.key)";
    OPEN_LETTER = "INSERT INTO saga_dead_letter (saga_id, step, op, seq, reason, error, attempts, opened_at) \
        VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    CLOSE_LETTER = "UPDATE saga_dead_letter SET closed_at = ?, closed_by = ?, resolution = ?, close_reason = ? \
        WHERE saga_id = ? AND step = ? AND op = ? AND closed_at IS NULL";
    CRASHED = "SELECT l.saga_id FROM saga_lease f CROSS JOIN saga_live l ON l.owner = f.epoch \
        WHERE f.fenced_at IS NOT NULL AND l.definition = ? AND l.version = ? LIMIT ?";
    DUE = "SELECT saga_id, due_at FROM saga_live WHERE definition = ? AND version = ? \
        AND owner IS NULL AND due_at <= ? ORDER BY due_at LIMIT ?";
    NEXT_DUE = "SELECT due_at FROM saga_live WHERE definition = ? AND version = ? \
        AND owner IS NULL AND due_at IS NOT NULL ORDER BY due_at LIMIT 1";
    OWN = "UPDATE saga_live SET owner = ?, due_at = NULL, standing = 0 WHERE saga_id = ?";
    HEADER = "SELECT saga_id, definition, version, key, input, created_at FROM saga_instance WHERE saga_id = ?";
    OWNER = "SELECT l.owner, EXISTS (SELECT 1 FROM saga_lease f WHERE f.epoch = l.owner AND f.fenced_at IS NULL) AS held \
        FROM saga_live l WHERE l.saga_id = ?";
    OWNED = "SELECT s.saga_id, s.definition, s.version, s.key, s.input, s.created_at FROM saga_live l \
        CROSS JOIN saga_instance s ON s.saga_id = l.saga_id WHERE l.owner = ?";
    SUMMARY = concat!("SELECT ", summary_columns!(), " WHERE s.saga_id = ?");
    FIND = concat!("SELECT ", summary_columns!(), " WHERE s.definition = ? AND s.key = ?");
    LIST = concat!("SELECT * FROM (SELECT ", summary_columns!(), " WHERE (?1 IS NULL OR s.saga_id < ?1) \
        AND (?2 IS NULL OR s.definition = ?2) AND (?3 IS NULL OR substr(s.key, 1, length(?3)) = ?3) \
        AND (?4 IS NULL OR (?4 IN ('completed', 'rolled-back')) = (l.saga_id IS NULL)) \
        AND (?6 IS NULL OR s.created_at >= ?6) AND (?7 IS NULL OR s.created_at < ?7) ORDER BY s.saga_id DESC) o \
        WHERE (?4 IS NULL OR ?4 = CASE WHEN NOT lives THEN CASE ends WHEN 1 THEN 'completed' ELSE 'rolled-back' END \
        WHEN running THEN 'running' WHEN standing = 0 THEN 'waiting' WHEN standing IN (1, 4) THEN 'attention' \
        WHEN standing = 2 THEN 'watching' ELSE 'retained' END) \
        AND (?8 IS NULL OR EXISTS (SELECT 1 FROM saga_turn h WHERE h.saga_id = o.saga_id AND instr(h.body, ?8) > 0)) \
        ORDER BY saga_id DESC LIMIT ?5");
    LETTERS = concat!("SELECT ", letter_columns!(), " WHERE d.closed_at IS NULL ORDER BY d.opened_at, d.saga_id, d.step LIMIT ?");
    LETTERS_OF = concat!("SELECT ", letter_columns!(), " WHERE d.closed_at IS NULL AND d.saga_id = ? \
        ORDER BY d.opened_at, d.saga_id, d.step LIMIT ?");
    UNALERTED = concat!("SELECT ", letter_columns!(), " WHERE d.closed_at IS NULL AND d.alerted_at IS NULL \
        ORDER BY d.opened_at, d.saga_id, d.step LIMIT ?");
    MARK_ALERTED = "UPDATE saga_dead_letter SET alerted_at = CAST(unixepoch('subsec') * 1000000 AS INTEGER) \
        WHERE saga_id = ? AND step = ? AND op = ? AND seq = ? AND alerted_at IS NULL";
    OLD = "SELECT saga_id FROM saga_ended \
        WHERE ended_at < CAST(unixepoch('subsec') * 1000000 AS INTEGER) - ? ORDER BY ended_at LIMIT ?";
    ENDED_AT = "SELECT at FROM saga_turn WHERE saga_id = ? AND ends IS NOT NULL ORDER BY seq DESC LIMIT 1";
    DELETE_TURNS = "DELETE FROM saga_turn WHERE saga_id = ?";
    DELETE_LETTERS = "DELETE FROM saga_dead_letter WHERE saga_id = ?";
    DELETE_INSTANCE = "DELETE FROM saga_instance WHERE saga_id = ?";
    DELETE_ENDED = "DELETE FROM saga_ended WHERE ended_at = ? AND saga_id = ?";
}

/// A saga and where it stands, in one snapshot.
macro_rules! summary_columns {
    () => {
        "s.saga_id, s.definition, s.version, s.key, s.input, s.created_at, \
         l.saga_id IS NOT NULL AS lives, l.standing AS standing, \
         EXISTS (SELECT 1 FROM saga_lease f WHERE f.epoch = l.owner AND f.fenced_at IS NULL) AS running, \
         (SELECT t.ends FROM saga_turn t WHERE t.saga_id = s.saga_id ORDER BY t.seq DESC LIMIT 1) AS ends \
         FROM saga_instance s LEFT JOIN saga_live l ON l.saga_id = s.saga_id"
    };
}
use summary_columns;

macro_rules! letter_columns {
    () => {
        "d.saga_id, s.definition, s.key, d.step, d.op, d.reason, d.error, d.attempts, d.seq, d.opened_at \
         FROM saga_dead_letter d CROSS JOIN saga_instance s ON s.saga_id = d.saga_id"
    };
}
use letter_columns;

#[cfg(test)]
mod tests {
    use sqlx::{Connection as _, Row as _, SqliteConnection};

    use super::*;

    /// No statement of the hot path reads a whole table.
    #[tokio::test]
    async fn every_statement_prepares_and_none_scans_a_large_table() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        crate::migrate::migrate(&mut connection).await.unwrap();
        let bulk = [
            &APPEND_ALL,
            &APPEND,
            &CREATE_ALL,
            &CREATE,
            &FIRST_TURN,
            &ENTER,
            &LEAVE,
            &END,
            &LOAD,
            &ENDING,
            &PUBLISH,
            &PUBLISHED,
            &ASK,
        ];
        let bulk = bulk.iter().flat_map(|bulk| bulk.sizes()).map(|sql| ("bulk", sql));
        let single = SINGLE.iter().map(|(name, sql)| (*name, (*sql).to_owned()));
        for (name, sql) in bulk.chain(single) {
            let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"))).fetch_all(&mut connection).await;
            for row in plan.unwrap_or_else(|error| panic!("{name} does not prepare: {error}")) {
                let detail: String = row.get("detail");
                let scanned = detail.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next());
                let large =
                    ["saga_turn", "saga_live", "saga_instance", "saga_event", "t", "l", "s", "p", "e", "b", "m"];
                // What people ask for may look at much, in the order of the ids.
                let for_people = name == "LIST";
                let index_only = detail.contains("USING") && detail.contains("INDEX");
                // The bulk statements call their list of values `t`, which is read whole by nature.
                let values = name == "bulk" && scanned == Some("t");
                assert!(
                    for_people || index_only || values || !scanned.is_some_and(|table| large.contains(&table)),
                    "{name}: {detail}"
                );
            }
        }
    }
}
