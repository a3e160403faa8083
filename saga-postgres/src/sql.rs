//! Every statement of the journal, rendered once with the schema's name: the one place to look for
//! injection. All values are bound. What is looked up for each row of something else is a LATERAL with an
//! OFFSET: see the migration "join order" for why.

use std::sync::Arc;

use sqlx::AssertSqlSafe;
use sqlx::postgres::Postgres;
use sqlx::query::Query;

use crate::schema::SchemaName;

/// A statement, ready to be bound.
#[derive(Clone, Debug)]
pub(crate) struct Statement(Arc<str>);

impl Statement {
    /// `prepared` keeps the statement prepared on its connection, which a transaction-pooling proxy
    /// cannot stand.
    pub(crate) fn query(&self, prepared: bool) -> Query<'static, Postgres, sqlx::postgres::PgArguments> {
        // Rendered from the constants below and a parsed schema name; no other text enters.
        sqlx::query(AssertSqlSafe(self.0.clone())).persistent(prepared)
    }
}

macro_rules! statements {
    ($($name:ident = $sql:expr;)+) => {
        #[derive(Clone, Debug)]
        pub(crate) struct Statements {
            $(pub(crate) $name: Statement,)+
        }

        impl Statements {
            pub(crate) fn render(schema: &SchemaName) -> Self {
                Self { $($name: Statement(schema.render($sql).into()),)+ }
            }

            #[cfg(test)]
            pub(crate) fn all(&self) -> Vec<(&'static str, &str)> {
                vec![$((stringify!($name), &*self.$name.0),)+]
            }
        }
    };
}

statements! {
    store_outlines = "INSERT INTO {schema}.definition (name, version, outline) \
        SELECT * FROM unnest($1::text[], $2::integer[], $3::text[]) ORDER BY 1, 2 ON CONFLICT DO NOTHING";
    outlines = "SELECT o.outline FROM unnest($1::text[], $2::integer[]) WITH ORDINALITY AS d(name, version, place) \
        JOIN {schema}.definition o ON o.name = d.name AND o.version = d.version ORDER BY d.place";
    open_lease = "INSERT INTO {schema}.lease (worker, lease_until) \
        VALUES ($1, clock_timestamp() + $2 * interval '1 microsecond') \
        RETURNING epoch, {schema}.micros(clock_timestamp()) AS now";
    renew_lease = "UPDATE {schema}.lease SET lease_until = clock_timestamp() + $2 * interval '1 microsecond' \
        WHERE epoch = $1 AND fenced_at IS NULL RETURNING {schema}.micros(clock_timestamp()) AS now";
    close_lease = "SELECT {schema}.close_lease($1) AS released";
    fence_lapsed = "SELECT epoch FROM {schema}.fence_lapsed() AS epoch";
    start = "SELECT place, saga_id, definition, version, key, input, created_at \
        FROM {schema}.start($1, $2, $3, $4, $5, $6, $7, $8)";
    append = "SELECT {schema}.append($1, $2, $3, $4, $5, $6, $7, $8, $9) AS answers";
    append_with_events = "SELECT {schema}.append_with_events(\
        $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) AS answers";
    append_with_effects = "SELECT {schema}.append_with_effects(\
        $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15::json) AS answers";
    unread = "SELECT s.saga_id FROM unnest($1::uuid[]) AS e(saga) \
        CROSS JOIN LATERAL (SELECT * FROM {schema}.saga o WHERE o.saga_id = e.saga OFFSET 0) s \
        WHERE EXISTS (SELECT 1 FROM {schema}.message m \
            WHERE m.definition = s.definition AND m.key = s.key AND m.read_seq IS NULL OFFSET 0)";
    send = "SELECT {schema}.send($1, $2, $3, $4) AS answers";
    inbox = "SELECT saga_id, message_id, body, step, tokens FROM {schema}.inbox($1) ORDER BY nth";
    relay = "SELECT saga_id, event_id, topic, headers, payload, attempts, at, next_due_at FROM {schema}.relay($1, $2)";
    settle = "SELECT {schema}.settle($1, $2, $3, $4, $5, $6, $7)";
    dead_events = "SELECT saga_id, event_id, topic, headers, payload, attempts, {schema}.micros(at) AS at, \
        coalesce(error, '') AS error FROM {schema}.outbox WHERE dead ORDER BY at, saga_id, seq, nth LIMIT $1";
    revive = "SELECT {schema}.revive($1, $2) AS revived";
    locks = "SELECT key, saga_id, token, {schema}.micros(asked_at) AS asked_at FROM {schema}.lock \
        ORDER BY key, arrival LIMIT $1";
    claim = "SELECT saga_id, definition, version, key, input, created_at, crashed, next_due_at, told_at \
        FROM {schema}.claim($1, $2, $3, $4)";
    claim_one = "SELECT answer, owned_by FROM {schema}.claim_one($1, $2)";
    owned = "SELECT s.saga_id, s.definition, s.version, s.key, s.input, {schema}.micros(s.created_at) AS created_at \
        FROM {schema}.live l \
        CROSS JOIN LATERAL (SELECT * FROM {schema}.saga o WHERE o.saga_id = l.saga_id OFFSET 0) s WHERE l.owner = $1";
    load = "SELECT saga_id, definition, version, key, input, created_at, seq, at, epoch, body FROM {schema}.load($1)";
    summary = concat!("SELECT ", summary_columns!(), one!(), " WHERE s.saga_id = $1");
    find = concat!("SELECT ", summary_columns!(), one!(), " WHERE s.definition = $1 AND s.key = $2");
    list = concat!("SELECT * FROM (SELECT ", summary_columns!(),
        " FROM {schema}.saga s LEFT JOIN {schema}.live l ON l.saga_id = s.saga_id WHERE ($1::uuid IS NULL OR s.saga_id < $1) \
        AND ($2::text IS NULL OR s.definition = $2) AND ($3::text IS NULL OR starts_with(s.key, $3)) \
        AND ($4::text IS NULL OR ($4 IN ('completed', 'rolled-back')) = (l.saga_id IS NULL)) \
        AND ($6::bigint IS NULL OR {schema}.micros(s.created_at) >= $6) \
        AND ($7::bigint IS NULL OR {schema}.micros(s.created_at) < $7)) o \
        WHERE ($4::text IS NULL OR $4 = CASE WHEN NOT lives THEN CASE ends WHEN 1 THEN 'completed' ELSE 'rolled-back' END \
        WHEN running THEN 'running' ELSE (ARRAY['waiting', 'attention', 'watching', 'retained', 'attention'])[standing + 1] END) \
        AND ($8::text IS NULL OR EXISTS (SELECT 1 FROM {schema}.turn h \
        WHERE h.saga_id = o.saga_id AND position($8 IN h.body) > 0)) ORDER BY saga_id DESC LIMIT $5");
    dead_letters = concat!("SELECT ", letter_columns!(), " WHERE d.closed_at IS NULL \
        AND ($1::uuid IS NULL OR d.saga_id = $1) ORDER BY d.opened_at, d.saga_id, d.step LIMIT $2");
    unalerted = concat!("SELECT ", letter_columns!(), " WHERE d.closed_at IS NULL AND d.alerted_at IS NULL \
        ORDER BY d.opened_at, d.saga_id, d.step LIMIT $1");
    mark_alerted = "UPDATE {schema}.dead_letter d SET alerted_at = clock_timestamp() \
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::integer[]) AS m(saga, step, op, seq) \
        WHERE d.saga_id = m.saga AND d.step = m.step AND d.op = m.op AND d.seq = m.seq AND d.alerted_at IS NULL";
    // `now` and not `clock_timestamp`, by which no index can go: without anything expired it would read them all.
    expired = "SELECT saga_id FROM {schema}.ended \
        WHERE ended_at < now() - $1 * interval '1 microsecond' ORDER BY ended_at, saga_id LIMIT $2";
    forget = "SELECT {schema}.forget($1, $2) AS deleted";
    wake = "SELECT pg_notify($1, '')";
}

/// A saga and where it stands, in one snapshot.
macro_rules! summary_columns {
    () => {
        "s.saga_id, s.definition, s.version, s.key, s.input, {schema}.micros(s.created_at) AS created_at, \
         l.saga_id IS NOT NULL AS lives, l.owner IS NOT NULL AS owned, l.standing AS standing, \
         EXISTS (SELECT 1 FROM {schema}.lease f WHERE f.epoch = l.owner AND f.fenced_at IS NULL) AS running, \
         (SELECT t.ends FROM {schema}.turn t WHERE t.saga_id = s.saga_id ORDER BY t.seq DESC LIMIT 1) AS ends"
    };
}
use summary_columns;

/// One saga, which the rest of the statement names.
macro_rules! one {
    () => {
        " FROM {schema}.saga s LEFT JOIN LATERAL \
         (SELECT * FROM {schema}.live o WHERE o.saga_id = s.saga_id OFFSET 0) l ON true"
    };
}
use one;

macro_rules! letter_columns {
    () => {
        "d.saga_id, s.definition, s.key, d.step, d.op, d.reason, d.error, d.attempts, d.seq, \
         {schema}.micros(d.opened_at) AS opened_at \
         FROM {schema}.dead_letter d \
         CROSS JOIN LATERAL (SELECT * FROM {schema}.saga o WHERE o.saga_id = d.saga_id OFFSET 0) s"
    };
}
use letter_columns;

#[cfg(test)]
mod tests {
    use saga_testkit::postgres::Cluster;
    use sqlx::{Connection as _, Executor as _, PgConnection, SqlSafeStr as _};

    use super::*;

    #[tokio::test]
    async fn every_statement_prepares() {
        let database = Cluster::shared().await.unwrap().database().await.unwrap();
        crate::PostgresJournal::connect(database.url()).await.unwrap();
        let mut connection = PgConnection::connect(database.url()).await.unwrap();
        for (name, sql) in Statements::render(&SchemaName::parse("saga").unwrap()).all() {
            let prepared = connection.prepare(AssertSqlSafe(sql.to_owned()).into_sql_str()).await;
            assert!(prepared.is_ok(), "{name}: {:?}", prepared.err());
        }
    }
}
