-- The tables of the journal. {schema} is the quoted name of its schema.

CREATE TABLE {schema}.definition (
    name    text    NOT NULL,
    version integer NOT NULL,
    outline text    NOT NULL,
    PRIMARY KEY (name, version)
);
COMMENT ON TABLE {schema}.definition IS 'The first outline seen of each version of a definition';

-- Heartbeats update lease_until alone: no index has it, so that every update stays on its page.
CREATE TABLE {schema}.lease (
    epoch       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    worker      text        NOT NULL,
    lease_until timestamptz NOT NULL,
    fenced_at   timestamptz,
    opened_at   timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
COMMENT ON TABLE {schema}.lease IS 'One row for each worker process; the epoch is its fencing token';
COMMENT ON COLUMN {schema}.lease.fenced_at IS 'When another worker fenced it: from then on its appends are refused';

CREATE TABLE {schema}.saga (
    saga_id    uuid PRIMARY KEY,
    definition text        NOT NULL,
    version    integer     NOT NULL,
    key        text        NOT NULL,
    input      bytea       NOT NULL,
    created_at timestamptz NOT NULL,
    UNIQUE (definition, key)
);
COMMENT ON TABLE {schema}.saga IS 'What never changes about a saga';
COMMENT ON COLUMN {schema}.saga.key IS 'The start key: starting again under it finds this saga';
COMMENT ON COLUMN {schema}.saga.input IS 'Fingerprint of the input';

CREATE TABLE {schema}.turn (
    saga_id uuid        NOT NULL,
    seq     integer     NOT NULL,
    epoch   bigint,
    nonce   bigint      NOT NULL,
    at      timestamptz NOT NULL,
    ends    smallint,
    body    text        NOT NULL,
    PRIMARY KEY (saga_id, seq)
);
COMMENT ON TABLE {schema}.turn IS 'The journal itself: append-only, one row for each transition of a saga';
COMMENT ON COLUMN {schema}.turn.epoch IS 'The lease that wrote it; none for a start without a worker';
COMMENT ON COLUMN {schema}.turn.nonce IS 'Marks the write, so that it is recognised when it is sent again';
COMMENT ON COLUMN {schema}.turn.ends IS 'With the last turn: 1 completed, 2 rolled back';
COMMENT ON COLUMN {schema}.turn.body IS 'The records, a JSON array';

-- Only sagas that have not ended are in here, so that the cost of claims and timers follows what is
-- live and not what is stored. Ordinary turns do not touch it.
CREATE TABLE {schema}.live (
    saga_id    uuid PRIMARY KEY,
    definition text    NOT NULL,
    version    integer NOT NULL,
    owner      bigint,
    due_at     timestamptz,
    standing   smallint NOT NULL DEFAULT 0
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE {schema}.live IS 'Who owns each saga that has not ended, and when it is due';
COMMENT ON COLUMN {schema}.live.owner IS 'The epoch of the lease that owns it; none while it is parked';
COMMENT ON COLUMN {schema}.live.standing IS 'While parked: 0 waits, 1 needs a human, 2 rolled back and watched for late effects, 3 completed and kept for its parent, 4 set aside as a whole';
CREATE INDEX live_due ON {schema}.live (definition, version, due_at) WHERE owner IS NULL AND due_at IS NOT NULL;
CREATE INDEX live_owner ON {schema}.live (owner) WHERE owner IS NOT NULL;

CREATE TABLE {schema}.ended (
    ended_at timestamptz NOT NULL,
    saga_id  uuid        NOT NULL,
    PRIMARY KEY (ended_at, saga_id)
);
COMMENT ON TABLE {schema}.ended IS 'Ended sagas in the order in which their retention runs out';

CREATE TABLE {schema}.dead_letter (
    saga_id      uuid        NOT NULL,
    step         text        NOT NULL,
    op           text        NOT NULL,
    seq          integer     NOT NULL,
    reason       text        NOT NULL,
    error        text        NOT NULL,
    attempts     integer     NOT NULL,
    opened_at    timestamptz NOT NULL,
    alerted_at   timestamptz,
    closed_at    timestamptz,
    closed_by    text,
    resolution   text,
    close_reason text,
    PRIMARY KEY (saga_id, step, op, seq)
);
COMMENT ON TABLE {schema}.dead_letter IS 'Operations that wait, or waited, for a human';
COMMENT ON COLUMN {schema}.dead_letter.step IS 'The step; empty for the saga as a whole';
COMMENT ON COLUMN {schema}.dead_letter.alerted_at IS 'When somebody acknowledged the alert';
CREATE UNIQUE INDEX dead_letter_open ON {schema}.dead_letter (saga_id, step, op) WHERE closed_at IS NULL;
CREATE INDEX dead_letter_oldest ON {schema}.dead_letter (opened_at) WHERE closed_at IS NULL;

-- Messages to sagas, until they are deleted with them. A message may come before its saga.
CREATE TABLE {schema}.message (
    definition text        NOT NULL,
    key        text        NOT NULL,
    message_id text        NOT NULL,
    nth        bigint GENERATED ALWAYS AS IDENTITY,
    sent_at    timestamptz NOT NULL,
    read_seq   integer,
    body       text        NOT NULL,
    PRIMARY KEY (definition, key, message_id)
);
COMMENT ON COLUMN {schema}.message.read_seq IS 'The turn that took it in; none while it is unread';
CREATE INDEX message_unread ON {schema}.message (definition, key, nth) WHERE read_seq IS NULL;

-- Events that wait to be published, or, when they are dead, for a human. They outlive their sagas.
CREATE TABLE {schema}.outbox (
    saga_id  uuid        NOT NULL,
    seq      integer     NOT NULL,
    nth      integer     NOT NULL,
    event_id text        NOT NULL,
    topic    text        NOT NULL,
    headers  text        NOT NULL,
    payload  text        NOT NULL,
    epoch    bigint      NOT NULL,
    at       timestamptz NOT NULL,
    due_at   timestamptz NOT NULL,
    attempts integer     NOT NULL DEFAULT 0,
    error    text,
    dead     boolean     NOT NULL DEFAULT false,
    PRIMARY KEY (saga_id, seq, nth)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
COMMENT ON COLUMN {schema}.outbox.epoch IS 'The lease whose worker publishes it';
CREATE UNIQUE INDEX outbox_event ON {schema}.outbox (event_id);
CREATE INDEX outbox_relay ON {schema}.outbox (epoch, saga_id, seq, nth) WHERE NOT dead;
CREATE INDEX outbox_dead ON {schema}.outbox (at) WHERE dead;

-- Lines of sagas, one for each entity. Whoever is first in all its lines has its locks.
CREATE TABLE {schema}.lock (
    key      text        NOT NULL,
    saga_id  uuid        NOT NULL,
    step     text        NOT NULL,
    arrival  bigint      NOT NULL,
    token    bigint,
    asked_at timestamptz NOT NULL,
    read_seq integer,
    PRIMARY KEY (key, saga_id)
);
COMMENT ON COLUMN {schema}.lock.token IS 'The fencing token, from when the saga has the lock';
COMMENT ON COLUMN {schema}.lock.read_seq IS 'The turn that took the grant in; none while it is unread';
CREATE INDEX lock_line ON {schema}.lock (key, arrival);
CREATE INDEX lock_saga ON {schema}.lock (saga_id);
CREATE INDEX lock_granted ON {schema}.lock (saga_id) WHERE token IS NOT NULL AND read_seq IS NULL;
CREATE SEQUENCE {schema}.lock_arrival;
CREATE SEQUENCE {schema}.lock_token;

-- For people: the records of each turn as rows.
CREATE VIEW {schema}.record AS
SELECT t.saga_id, s.definition, s.version, s.key, t.seq, r.nth, t.at, t.epoch, r.record
FROM {schema}.turn t
JOIN {schema}.saga s USING (saga_id)
CROSS JOIN LATERAL jsonb_array_elements(t.body::jsonb) WITH ORDINALITY AS r(record, nth);
