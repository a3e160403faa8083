//! Events on their way through the outbox to a real JetStream.

use std::time::Duration;

use indicatif::ProgressBar;
use saga_core::{BuildError, Definition, Event, Source as _, StepContext, StepError, step_fn};
use saga_publish::nats::{NatsPublisher, stream};
use saga_testkit::nats::NatsServer;
use sqlx::{Connection as _, PgConnection};

use super::arena::{Arena, GRACE, engine, saga};
use super::open_loop::open_loop;
use super::publish_lag::PublishLag;
use super::statistics::{Latencies, median};
use super::{Finding, Goal, Outcome, Settings};
use crate::{Load, RESULT, measure};

const NAME: &str = "outbox";
const CALLERS: usize = 1_000;
/// Of the highest rate, for the schedule, which has no more than the rate that is asked for.
const SHARE: f64 = 0.8;
const EVENTS_MIN: f64 = 10_000.0;
const LAG_MAX_MS: f64 = 100.0;
/// For the events that are left when the sagas are done.
const PATIENCE: Duration = Duration::from_secs(120);

async fn step(_: StepContext, _: String) -> Result<String, StepError> {
    Ok(RESULT.to_owned())
}

/// A step, and an event that tells of it.
fn definition() -> Result<Definition<String, String>, BuildError> {
    Definition::build("tells", 1, |saga, input| {
        let done = saga.query("step", step_fn(step), input);
        saga.publish("told", done.map(|text: String| Event::new("told", text)));
        saga.returns(done)
    })
}

pub(super) async fn run(settings: &Settings, bar: &ProgressBar) -> Outcome<Vec<Finding>> {
    let (arena, broker, heard) = (Arena::start().await?, NatsServer::start().await?, PublishLag::listen()?);
    let url = arena.database().await?;
    let config =
        stream::Config { name: "REACH".to_owned(), subjects: vec!["reach.>".to_owned()], ..Default::default() };
    let client = async_nats::connect(broker.url()).await?;
    let publisher = NatsPublisher::builder(client).prefix("reach").create_stream(config).open().await?;
    let definition = definition()?;
    let engine = engine(&url, CALLERS).await?.register(&definition).publisher(publisher).open().await?;
    let (saga, mut probe) = (saga(&engine, &definition), PgConnection::connect(&url).await?);
    bar.set_length(2 * settings.rounds() as u64);
    let mut rounds: Vec<[f64; 4]> = Vec::new();
    for _ in 0..settings.rounds() {
        bar.set_message("the highest rate");
        let mut marks = Vec::new();
        let load = Load::new(CALLERS, settings.lasting());
        let peak = measure(saga.clone(), load, async || {
            marks.push(heard.count());
            Ok(())
        })
        .await?;
        let [before, after] = marks[..] else { return Err("the run was not marked twice".into()) };
        let took = peak.took.as_secs_f64();
        let (committed, published) = (peak.sagas as f64 / took, (after - before) as f64 / took);
        all_published(&mut probe).await?;
        bar.inc(1);
        bar.set_message("on a schedule");
        heard.take();
        // What is sustained is what gets out, even when more comes in.
        let rate = EVENTS_MIN.min(SHARE * published.min(committed));
        let kept = open_loop(saga.clone(), rate, settings.lasting()).await?;
        all_published(&mut probe).await?;
        rounds.push([committed, published, kept.per_second, Latencies::new(heard.take()).at(0.99)]);
        bar.inc(1);
    }
    engine.shutdown(GRACE).await;
    let each = |of: fn(&[f64; 4]) -> f64| median(&rounds.iter().map(of).collect::<Vec<_>>());
    let told = |measured, value, unit| Finding::told(NAME, measured, value, unit);
    Ok(vec![
        told("committed, 1,000 callers, 1 step and 1 event", each(|round| round[0]), "events/s"),
        told("acknowledged by the broker meanwhile", each(|round| round[1]), "events/s")
            .aims(Goal::AtLeast(EVENTS_MIN)),
        told("on a schedule of 80 % of that, or 10,000 if that is less", each(|round| round[2]), "events/s"),
        told("commit to acknowledged on that schedule, p99", each(|round| round[3]), "ms")
            .aims(Goal::AtMost(LAG_MAX_MS)),
    ])
}

/// Waits until the outbox is empty.
async fn all_published(probe: &mut PgConnection) -> Outcome<()> {
    let empty = async {
        let there = "SELECT EXISTS (SELECT 1 FROM saga.outbox)";
        while sqlx::query_scalar::<_, bool>(there).fetch_one(&mut *probe).await? {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, empty).await.map_err(|_| "events stay in the outbox")?
}
