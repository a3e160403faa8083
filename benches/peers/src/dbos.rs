//! `dbos`, the official SDK. Set up as the documentation of its `Config` shows: a name, a version, and
//! `max_connections: 20` (its default is 10); workflows registered before `launch`, run by a typed reference with
//! the caller's key as the workflow's id. The wait is in the process, without a query.

use async_trait::async_trait;
use dbos::{Config, DBOS, RunOptions, WorkflowRef, step};

use crate::RESULT;
use crate::engine::{Engine, Failure};

pub struct Dbos {
    steps: usize,
    workflow: WorkflowRef<usize, String>,
    /// Runs what the reference starts.
    _instance: DBOS,
}

impl Dbos {
    pub async fn open(url: &str, steps: usize) -> Result<Self, Failure> {
        let version = Some(env!("CARGO_PKG_VERSION").to_owned());
        let config = Config { app_version: version, max_connections: 20, ..Config::new("peers", url) };
        let instance = DBOS::new(config);
        let workflow = instance.register_workflow("noop", noop)?;
        instance.launch().await?;
        Ok(Self { steps, workflow, _instance: instance })
    }
}

async fn noop(steps: usize) -> dbos::Result<String> {
    let mut last = String::new();
    for _ in 0..steps {
        last = step("step", || async { dbos::Result::Ok(RESULT.to_owned()) }).await?;
    }
    Ok(last)
}

#[async_trait]
impl Engine for Dbos {
    async fn saga(&self, key: String) -> Result<(), Failure> {
        let options = RunOptions { workflow_id: Some(&key), ..RunOptions::default() };
        self.workflow.run_with(self.steps, options).await?;
        Ok(())
    }
}
