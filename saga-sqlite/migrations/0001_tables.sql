-- The tables of the journal. Their prefix keeps them apart from the host's own in the same file.
-- Times are microseconds since 1970, by SQLite's clock.

CREATE TABLE saga_definition (
    name    TEXT    NOT NULL,
    version INTEGER NOT NULL,
    outline TEXT    NOT NULL,
    PRIMARY KEY (name, version)
) WITHOUT ROWID;

-- AUTOINCREMENT: an epoch is never used twice, not after its row is gone either.
CREATE TABLE saga_lease (
    epoch       INTEGER PRIMARY KEY AUTOINCREMENT,
    worker      TEXT    NOT NULL,
    lease_until INTEGER NOT NULL,
    fenced_at   INTEGER,
    opened_at   INTEGER NOT NULL
);

-- What never changes about a saga.
CREATE TABLE saga_instance (
    saga_id    BLOB    PRIMARY KEY,
    definition TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    key        TEXT    NOT NULL,
    input      BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (definition, key)
) WITHOUT ROWID;

-- The journal itself: append-only, one row for each transition of a saga.
CREATE TABLE saga_turn (
    saga_id BLOB    NOT NULL,
    seq     INTEGER NOT NULL,
    epoch   INTEGER,
    nonce   INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    ends    INTEGER,
    body    TEXT    NOT NULL,
    PRIMARY KEY (saga_id, seq)
) WITHOUT ROWID;

-- Who owns each saga that has not ended, and when it is due. Ordinary turns do not touch it.
CREATE TABLE saga_live (
    saga_id    BLOB    PRIMARY KEY,
    definition TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    owner      INTEGER,
    due_at     INTEGER,
    standing   INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX saga_live_due ON saga_live (definition, version, due_at) WHERE owner IS NULL AND due_at IS NOT NULL;
CREATE INDEX saga_live_owner ON saga_live (owner) WHERE owner IS NOT NULL;

-- Ended sagas in the order in which their retention runs out.
CREATE TABLE saga_ended (
    ended_at INTEGER NOT NULL,
    saga_id  BLOB    NOT NULL,
    PRIMARY KEY (ended_at, saga_id)
) WITHOUT ROWID;

-- Operations that wait, or waited, for a human. The step is empty for the saga as a whole.
CREATE TABLE saga_dead_letter (
    saga_id      BLOB    NOT NULL,
    step         TEXT    NOT NULL,
    op           TEXT    NOT NULL,
    seq          INTEGER NOT NULL,
    reason       TEXT    NOT NULL,
    error        TEXT    NOT NULL,
    attempts     INTEGER NOT NULL,
    opened_at    INTEGER NOT NULL,
    alerted_at   INTEGER,
    closed_at    INTEGER,
    closed_by    TEXT,
    resolution   TEXT,
    close_reason TEXT,
    PRIMARY KEY (saga_id, step, op, seq)
) WITHOUT ROWID;
CREATE UNIQUE INDEX saga_dead_letter_open ON saga_dead_letter (saga_id, step, op) WHERE closed_at IS NULL;
CREATE INDEX saga_dead_letter_oldest ON saga_dead_letter (opened_at) WHERE closed_at IS NULL;

-- Messages to sagas, until they are deleted with them. A message may come before its saga.
CREATE TABLE saga_message (
    nth        INTEGER PRIMARY KEY,
    definition TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    message_id TEXT    NOT NULL,
    sent_at    INTEGER NOT NULL,
    read_seq   INTEGER,
    body       TEXT    NOT NULL,
    UNIQUE (definition, key, message_id)
);
CREATE INDEX saga_message_unread ON saga_message (definition, key, nth) WHERE read_seq IS NULL;

-- The outbox: events to be published, in the order in which their turns were written. They outlive
-- their sagas. The owner is the lease that publishes them; dead ones wait for a human.
CREATE TABLE saga_event (
    nth      INTEGER PRIMARY KEY,
    event_id TEXT    NOT NULL UNIQUE,
    saga_id  BLOB    NOT NULL,
    owner    INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    due_at   INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    dead_at  INTEGER,
    error    TEXT,
    topic    TEXT    NOT NULL,
    headers  TEXT    NOT NULL,
    payload  TEXT    NOT NULL
);
CREATE INDEX saga_event_owner ON saga_event (owner, nth) WHERE dead_at IS NULL;
CREATE INDEX saga_event_saga ON saga_event (saga_id, nth) WHERE dead_at IS NULL;
CREATE INDEX saga_event_retry ON saga_event (owner, due_at) WHERE dead_at IS NULL AND attempts > 0;
CREATE INDEX saga_event_dead ON saga_event (nth) WHERE dead_at IS NOT NULL;

-- The lines for entity locks, in the order of arrival; who is first in all of its lines has a token.
CREATE TABLE saga_lock (
    key      TEXT    NOT NULL,
    arrival  INTEGER NOT NULL,
    saga_id  BLOB    NOT NULL,
    step     TEXT    NOT NULL,
    asked_at INTEGER NOT NULL,
    token    INTEGER,
    read_seq INTEGER,
    PRIMARY KEY (key, arrival)
) WITHOUT ROWID;
CREATE INDEX saga_lock_saga ON saga_lock (saga_id);
CREATE INDEX saga_lock_granted ON saga_lock (saga_id) WHERE token IS NOT NULL AND read_seq IS NULL;

-- Arrivals and tokens: one row that only grows, also while nobody has a lock.
CREATE TABLE saga_lock_number (
    last INTEGER NOT NULL
);
INSERT INTO saga_lock_number (last) VALUES (0);
