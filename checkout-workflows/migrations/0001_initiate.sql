-- The tables of the initiate flow, for SQLite and Postgres alike. Amounts are minor units, times
-- microseconds since 1970.

-- One row for each write, by its kind and idempotency key: done with its answer, or undone. A write that
-- arrives after it was undone finds its tombstone here and is refused.
CREATE TABLE initiate_operations (
    operation     TEXT NOT NULL,
    operation_key TEXT NOT NULL,
    state         TEXT NOT NULL,
    answer        TEXT,
    undone_by     TEXT,
    PRIMARY KEY (operation, operation_key)
);

CREATE TABLE execution_contexts (
    execution_context_id TEXT   PRIMARY KEY,
    task_name            TEXT   NOT NULL,
    request              TEXT   NOT NULL,
    request_digest       TEXT   NOT NULL,
    reference_ids        TEXT   NOT NULL,
    status               TEXT   NOT NULL,
    response             TEXT,
    created_at           BIGINT NOT NULL,
    updated_at           BIGINT NOT NULL,
    entries              BIGINT NOT NULL
);
CREATE INDEX execution_contexts_open ON execution_contexts (updated_at) WHERE status = 'INITIALIZED';

CREATE TABLE execution_steps (
    execution_context_id TEXT   NOT NULL,
    nth                  BIGINT NOT NULL,
    step                 TEXT   NOT NULL,
    status               TEXT   NOT NULL,
    at                   BIGINT NOT NULL,
    PRIMARY KEY (execution_context_id, nth)
);

CREATE TABLE execution_retries (
    execution_context_id TEXT   NOT NULL,
    nth                  BIGINT NOT NULL,
    at                   BIGINT NOT NULL,
    PRIMARY KEY (execution_context_id, nth)
);

CREATE TABLE payment_groups (
    payment_group_id     TEXT PRIMARY KEY,
    execution_context_id TEXT NOT NULL,
    user_id              TEXT NOT NULL,
    state                TEXT NOT NULL
);
CREATE INDEX payment_groups_context ON payment_groups (execution_context_id);

CREATE TABLE payment_group_line_items (
    payment_group_id TEXT NOT NULL,
    line_item_id     TEXT NOT NULL,
    PRIMARY KEY (payment_group_id, line_item_id)
);

-- `revision` only grows and guards against two writers; `written_by` is the key of the write that made
-- the present contents, and is restored with them.
CREATE TABLE line_items (
    line_item_id         TEXT   PRIMARY KEY,
    execution_context_id TEXT   NOT NULL,
    user_id              TEXT   NOT NULL,
    payment_group_id     TEXT,
    plan_id              TEXT   NOT NULL,
    slot_id              TEXT,
    location             TEXT,
    currency             TEXT   NOT NULL,
    base                 BIGINT NOT NULL,
    surge                BIGINT NOT NULL,
    tip                  BIGINT NOT NULL,
    discount             BIGINT NOT NULL,
    payable              BIGINT NOT NULL CHECK (payable = base + surge + tip - discount),
    requirement_id       TEXT,
    state                TEXT   NOT NULL,
    revision             BIGINT NOT NULL,
    written_by           TEXT   NOT NULL
);
CREATE INDEX line_items_context ON line_items (execution_context_id);
CREATE INDEX line_items_group ON line_items (payment_group_id);

-- What each write found, so that it can be restored.
CREATE TABLE line_item_versions (
    line_item_id TEXT   NOT NULL,
    revision     BIGINT NOT NULL,
    body         TEXT   NOT NULL,
    PRIMARY KEY (line_item_id, revision)
);

CREATE TABLE checkout_orders (
    checkout_order_id    TEXT   PRIMARY KEY,
    execution_context_id TEXT   NOT NULL,
    user_id              TEXT   NOT NULL,
    currency             TEXT   NOT NULL,
    total                BIGINT NOT NULL CHECK (total >= 0),
    state                TEXT   NOT NULL
);

-- One checkout order for a context. One that failed may be tried again.
CREATE UNIQUE INDEX checkout_orders_context ON checkout_orders (execution_context_id) WHERE state <> 'FAILED';

CREATE TABLE opt_ins (
    opt_in_id            TEXT   PRIMARY KEY,
    execution_context_id TEXT   NOT NULL,
    user_id              TEXT   NOT NULL,
    plan_id              TEXT   NOT NULL,
    mandate_id           TEXT,
    preferences          TEXT   NOT NULL,
    state                TEXT   NOT NULL,
    revision             BIGINT NOT NULL,
    written_by           TEXT   NOT NULL
);
CREATE INDEX opt_ins_user ON opt_ins (user_id);

CREATE TABLE opt_in_versions (
    opt_in_id TEXT   NOT NULL,
    revision  BIGINT NOT NULL,
    body      TEXT   NOT NULL,
    PRIMARY KEY (opt_in_id, revision)
);

CREATE TABLE preferences (
    preference_id        TEXT PRIMARY KEY,
    execution_context_id TEXT NOT NULL,
    user_id              TEXT NOT NULL,
    location             TEXT,
    details              TEXT NOT NULL,
    state                TEXT NOT NULL
);

CREATE TABLE preference_line_items (
    preference_id TEXT NOT NULL,
    line_item_id  TEXT NOT NULL,
    mapped_by     TEXT NOT NULL,
    state         TEXT NOT NULL,
    PRIMARY KEY (preference_id, line_item_id, mapped_by)
);
CREATE UNIQUE INDEX preference_line_items_once ON preference_line_items (line_item_id, preference_id)
    WHERE state = 'CREATED';

-- Payments to be collected. `paid_at` is set when the gateway said that money was taken, even when
-- that came too late to change the state.
CREATE TABLE payment_requirements (
    requirement_id        TEXT   PRIMARY KEY,
    execution_context_id  TEXT   NOT NULL,
    checkout_order_id     TEXT   NOT NULL,
    user_id               TEXT   NOT NULL,
    merchant_reference    TEXT   NOT NULL UNIQUE,
    vendor_code           TEXT,
    vendor_transaction_id TEXT,
    currency              TEXT   NOT NULL,
    amount                BIGINT NOT NULL CHECK (amount > 0),
    failure               TEXT,
    paid_at               BIGINT,
    state                 TEXT   NOT NULL
);
CREATE INDEX payment_requirements_context ON payment_requirements (execution_context_id);
CREATE INDEX payment_requirements_vendor ON payment_requirements (vendor_transaction_id);

CREATE TABLE arrears (
    arrear_id      TEXT   PRIMARY KEY,
    user_id        TEXT   NOT NULL,
    requirement_id TEXT   NOT NULL,
    currency       TEXT   NOT NULL,
    amount         BIGINT NOT NULL CHECK (amount > 0),
    due_at         BIGINT NOT NULL,
    state          TEXT   NOT NULL
);
CREATE INDEX arrears_user ON arrears (user_id);
-- What one payment left unpaid is collected once.
CREATE UNIQUE INDEX arrears_requirement ON arrears (requirement_id) WHERE state <> 'CANCELLED';

CREATE TABLE settlements (
    settlement_id     TEXT   PRIMARY KEY,
    checkout_order_id TEXT   NOT NULL,
    tranche           BIGINT NOT NULL,
    currency          TEXT   NOT NULL,
    amount            BIGINT NOT NULL CHECK (amount > 0),
    due_at            BIGINT NOT NULL,
    state             TEXT   NOT NULL
);
CREATE UNIQUE INDEX settlements_tranche ON settlements (checkout_order_id, tranche) WHERE state <> 'CANCELLED';

CREATE TABLE catalogue_plans (
    plan_id  TEXT   PRIMARY KEY,
    category TEXT   NOT NULL,
    name     TEXT   NOT NULL,
    currency TEXT   NOT NULL,
    price    BIGINT NOT NULL CHECK (price >= 0)
);

CREATE TABLE catalogue_slots (
    slot_id   TEXT   PRIMARY KEY,
    city      TEXT   NOT NULL,
    category  TEXT   NOT NULL,
    starts_at BIGINT NOT NULL,
    available BIGINT NOT NULL CHECK (available >= 0),
    currency  TEXT   NOT NULL,
    surge_fee BIGINT NOT NULL CHECK (surge_fee >= 0)
);

CREATE TABLE catalogue_coupons (
    code        TEXT   PRIMARY KEY,
    currency    TEXT   NOT NULL,
    amount      BIGINT,
    basis_points BIGINT,
    valid_until BIGINT NOT NULL
);

CREATE TABLE catalogue_credits (
    user_id  TEXT   NOT NULL,
    currency TEXT   NOT NULL,
    balance  BIGINT NOT NULL CHECK (balance >= 0),
    PRIMARY KEY (user_id, currency)
);
