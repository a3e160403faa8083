//! `duroxide` on `duroxide-pg`. The provider as in the README of `duroxide-pg` (`PostgresProvider::new`, ten
//! connections); the runtime with the workers of "Full Production Configuration" in duroxide's observability guide
//! (4 for orchestrations, 8 for activities; its default is 2 and 2), without the exporters; started and waited for
//! by a client on the same store, as in its README. That wait asks the database every 5 to 100 ms.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::runtime::{Runtime, RuntimeOptions};
use duroxide::{ActivityContext, Client, OrchestrationContext, OrchestrationRegistry, OrchestrationStatus};
use duroxide_pg::PostgresProvider;

use crate::RESULT;
use crate::engine::{Engine, Failure};

const WAIT_MAX: Duration = Duration::from_secs(300);

pub struct Duroxide {
    steps: usize,
    client: Client,
    /// Runs what the client starts.
    _runtime: Arc<Runtime>,
}

impl Duroxide {
    pub async fn open(url: &str, steps: usize) -> Result<Self, Failure> {
        let store = Arc::new(PostgresProvider::new(url).await?);
        let activities = ActivityRegistry::builder().register("step", step).build();
        let orchestrations = OrchestrationRegistry::builder().register("noop", noop).build();
        let options =
            RuntimeOptions { orchestration_concurrency: 4, worker_concurrency: 8, ..RuntimeOptions::default() };
        let runtime = Runtime::start_with_options(store.clone(), activities, orchestrations, options).await;
        Ok(Self { steps, client: Client::new(store), _runtime: runtime })
    }
}

async fn step(_cx: ActivityContext, _input: String) -> Result<String, String> {
    Ok(RESULT.to_owned())
}

async fn noop(cx: OrchestrationContext, steps: String) -> Result<String, String> {
    let steps: usize = steps.parse().map_err(|_| "not a number of steps".to_owned())?;
    let mut last = String::new();
    for _ in 0..steps {
        last = cx.schedule_activity("step", last).await?;
    }
    Ok(last)
}

#[async_trait]
impl Engine for Duroxide {
    async fn saga(&self, key: String) -> Result<(), Failure> {
        self.client.start_orchestration(&key, "noop", self.steps.to_string()).await?;
        match self.client.wait_for_orchestration(&key, WAIT_MAX).await? {
            OrchestrationStatus::Completed { .. } => Ok(()),
            other => Err(format!("an orchestration that does nothing failed: {other:?}").into()),
        }
    }
}
