//! Tables as a journal of some years leaves them: one saga of each kind is run by the engine itself, and its rows are
//! copied under other ids, keys and times.

use saga_core::{BuildError, Checkpoint, Definition, Engine, Source as _};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::arena::{GRACE, engine};
use super::{Outcome, Settings};
use crate::{noop, run_saga};

/// So many sagas are copied by one statement: enough to be quick, few enough to show how far it is.
const BATCH: u64 = 200_000;
/// Looked at after the copying.
const SAMPLE: u64 = 20;
/// The first copy was there so long ago: within the retention.
const OLDEST_S: u64 = 5 * 24 * 3600;

/// Each copy's own: an id as the engine makes them, its time first, and how much later or earlier it was there than
/// the model. $1 is the model, $2 to $3 are the copies, of $5, named $4; the first was there at $6.
const NUMBERED: &str = "
    SELECT n, at - m.created_at AS shift, (
        lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')
        || '7' || left(md5($4 || n), 3) || '8' || right(md5($4 || n), 15))::uuid AS id
    FROM saga.saga m, generate_series($2::bigint, $3 - 1) n,
        LATERAL (SELECT saga.instant($6) + n * interval '5 days' / $5::bigint AS at) p
    WHERE m.saga_id = $1";

/// The rows of each copy.
const COPIES: [&str; 4] = [
    "INSERT INTO saga.saga SELECT c.id, s.definition, s.version, s.key || ' ' || c.n, s.input, s.created_at + c.shift
        FROM (NUMBERED) c, saga.saga s WHERE s.saga_id = $1",
    // A wait that is in the records is moved as well.
    "INSERT INTO saga.turn SELECT c.id, t.seq, t.epoch, t.nonce # c.n, t.at + c.shift, t.ends,
            coalesce(replace(t.body, until, (until::bigint + extract(epoch FROM c.shift) * 1000000)::bigint::text), t.body)
        FROM (NUMBERED) c, saga.turn t, substring(t.body FROM '\"until\":(\\d+)') until WHERE t.saga_id = $1",
    "INSERT INTO saga.ended SELECT t.at + c.shift, c.id
        FROM (NUMBERED) c, saga.turn t WHERE t.saga_id = $1 AND t.ends > 0",
    "INSERT INTO saga.live SELECT c.id, l.definition, l.version, l.owner, l.due_at + c.shift, l.standing
        FROM (NUMBERED) c, saga.live l WHERE l.saga_id = $1",
];

/// Waits for a month.
fn sleeper() -> Result<Definition<String, ()>, BuildError> {
    Definition::build("sleeper", 1, |saga, input| {
        let month = input.map(|_: String| std::time::Duration::from_secs(30 * 24 * 3600));
        let slept = saga.sleep("a-month", month);
        saga.returns(slept)
    })
}

/// Fills the tables, has them analysed, and makes sure that the engine takes the copies for its own.
pub(super) async fn fill(url: &str, settings: &Settings, bar: &indicatif::ProgressBar) -> Outcome<()> {
    let (ended, parked) = (settings.or_short(settings.ended, 200_000), settings.or_short(settings.parked, 20_000));
    let (quick, sleeper) = (noop(1)?, sleeper()?);
    let engine = engine(url, 0).await?.register(&quick).register(&sleeper).open().await?;
    run_saga(&engine, &quick, "ended").await?;
    let model = engine.find(&quick, "ended").await?.ok_or("the saga to be copied is not there")?.id();
    let asleep = engine.start(&sleeper, "parked", String::new()).await?.id();
    while engine.in_flight() > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let mut connection = PgConnection::connect(url).await?;
    let now: i64 = sqlx::query_scalar("SELECT saga.micros(clock_timestamp())").fetch_one(&mut connection).await?;
    let oldest = now - i64::try_from(OLDEST_S * 1_000_000)?;
    bar.set_length(ended + parked);
    bar.set_position(0);
    for (saga, label, copies) in [(model, "ended", ended), (asleep, "parked", parked)] {
        bar.set_message(format!("filling the tables: {label} sagas"));
        for from in (0..copies).step_by(usize::try_from(BATCH)?) {
            let to = (from + BATCH).min(copies);
            for copy in COPIES {
                let copy = sqlx::query(AssertSqlSafe(copy.replace("NUMBERED", NUMBERED))).bind(saga.as_uuid());
                let copy = copy.bind(i64::try_from(from)?).bind(i64::try_from(to)?).bind(label);
                copy.bind(i64::try_from(copies)?).bind(oldest).execute(&mut connection).await?;
            }
            bar.inc(to - from);
        }
    }
    bar.set_message("VACUUM (ANALYZE)");
    // With the vacuum that would otherwise come by itself in the middle of a measurement.
    connection.execute("VACUUM (ANALYZE)").await?;
    connection.execute("CHECKPOINT").await?;
    verify(&engine, &quick, "ended", ended).await?;
    verify(&engine, &sleeper, "parked", parked).await?;
    engine.shutdown(GRACE).await;
    Ok(())
}

/// Some of the copies are read through the journal, and checked.
async fn verify<I: Checkpoint>(
    engine: &Engine,
    definition: &Definition<I, impl Send + 'static>,
    label: &str,
    copies: u64,
) -> Outcome<()> {
    for nth in 0..SAMPLE {
        let key = format!("{label} {}", nth * (copies - 1) / (SAMPLE - 1));
        let saga = engine.find(definition, &key).await?.ok_or_else(|| format!("the copy {key} is not there"))?;
        let report = engine.verify(Some(saga.id())).await?;
        if !report.is_clean() || report.verified.is_empty() {
            return Err(format!("the copy {key} is not as the engine writes it: {:?}", report.violations).into());
        }
    }
    Ok(())
}
