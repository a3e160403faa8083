-- The shop's own tables, for SQLite and Postgres alike. Amounts are minor units, times microseconds.

CREATE TABLE carts (
    cart_id     TEXT   PRIMARY KEY,
    customer_id TEXT   NOT NULL,
    currency    TEXT   NOT NULL,
    status      TEXT   NOT NULL,
    is_active   BIGINT NOT NULL
);

CREATE TABLE cart_items (
    cart_id      TEXT   NOT NULL,
    line         BIGINT NOT NULL,
    product_id   TEXT   NOT NULL,
    sku          TEXT   NOT NULL,
    name         TEXT   NOT NULL,
    quantity     BIGINT NOT NULL CHECK (quantity > 0),
    unit_price   BIGINT NOT NULL CHECK (unit_price >= 0),
    warehouse_id TEXT   NOT NULL,
    PRIMARY KEY (cart_id, line)
);

CREATE TABLE checkout_sessions (
    session_id            TEXT   PRIMARY KEY,
    cart_id               TEXT   NOT NULL,
    shipping_address      TEXT   NOT NULL,
    billing_address       TEXT   NOT NULL,
    shipping_method       TEXT   NOT NULL,
    payment_method_type   TEXT   NOT NULL,
    payment_method_id     TEXT   NOT NULL,
    promotion_codes       TEXT   NOT NULL,
    loyalty_points_to_use BIGINT NOT NULL CHECK (loyalty_points_to_use >= 0),
    notes                 TEXT   NOT NULL,
    expires_at            BIGINT NOT NULL
);

CREATE TABLE stock (
    sku          TEXT   NOT NULL,
    warehouse_id TEXT   NOT NULL,
    initial      BIGINT NOT NULL,
    free         BIGINT NOT NULL CHECK (free >= 0),
    reserved     BIGINT NOT NULL CHECK (reserved >= 0),
    sold         BIGINT NOT NULL CHECK (sold >= 0),
    PRIMARY KEY (sku, warehouse_id)
);

-- One row for each operation on stock and orders, by its idempotency key: done, or undone. An
-- operation that arrives after it was undone finds its tombstone here and is refused.
CREATE TABLE operations (
    operation_key TEXT PRIMARY KEY,
    state         TEXT NOT NULL
);

CREATE TABLE reservations (
    operation_key TEXT   NOT NULL,
    sku           TEXT   NOT NULL,
    warehouse_id  TEXT   NOT NULL,
    quantity      BIGINT NOT NULL,
    status        TEXT   NOT NULL,
    expires_at    BIGINT NOT NULL,
    PRIMARY KEY (operation_key, sku, warehouse_id)
);
CREATE INDEX reservations_expiring ON reservations (expires_at) WHERE status = 'held';

CREATE TABLE loyalty_accounts (
    customer_id TEXT   PRIMARY KEY,
    points      BIGINT NOT NULL CHECK (points >= 0)
);

CREATE TABLE point_redemptions (
    operation_key TEXT   PRIMARY KEY,
    customer_id   TEXT   NOT NULL,
    points        BIGINT NOT NULL CHECK (points > 0),
    status        TEXT   NOT NULL
);

-- What is known of each payment, by the gateway's id of its authorization. The numbers only grow; the
-- version guards against two who learn at the same time.
CREATE TABLE payments (
    authorization_id TEXT   PRIMARY KEY,
    status           TEXT   NOT NULL,
    authorized       BIGINT NOT NULL,
    captured         BIGINT NOT NULL,
    refunded         BIGINT NOT NULL,
    voided           BIGINT NOT NULL,
    expired          BIGINT NOT NULL,
    version          BIGINT NOT NULL
);

CREATE TABLE orders (
    order_id        TEXT   PRIMARY KEY,
    operation_key   TEXT   NOT NULL UNIQUE,
    cart_session_id TEXT   NOT NULL,
    customer_id     TEXT   NOT NULL,
    status          TEXT   NOT NULL,
    payment_status  TEXT   NOT NULL,
    transaction_id  TEXT,
    currency        TEXT   NOT NULL,
    subtotal        BIGINT NOT NULL,
    total_discounts BIGINT NOT NULL,
    shipping        BIGINT NOT NULL,
    tax             BIGINT NOT NULL,
    total           BIGINT NOT NULL,
    metadata        TEXT   NOT NULL
);

CREATE TABLE order_items (
    order_id     TEXT   NOT NULL,
    line         BIGINT NOT NULL,
    product_id   TEXT   NOT NULL,
    sku          TEXT   NOT NULL,
    name         TEXT   NOT NULL,
    quantity     BIGINT NOT NULL,
    unit_price   BIGINT NOT NULL,
    warehouse_id TEXT   NOT NULL,
    PRIMARY KEY (order_id, line)
);

-- No cart is ordered twice. One whose order was cancelled may be tried again.
CREATE UNIQUE INDEX orders_cart_session ON orders (cart_session_id) WHERE status <> 'cancelled';

CREATE TABLE outbox (
    event_id   TEXT   PRIMARY KEY,
    event_type TEXT   NOT NULL,
    order_id   TEXT   NOT NULL,
    body       TEXT   NOT NULL
);
