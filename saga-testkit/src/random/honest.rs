//! A step whose participant keeps its word.

use saga_core::{Compensation, Outcome, Probe, Step, StepContext, StepError, async_trait};

use crate::World;
use crate::sim::Applied;

/// A step that does one thing in the [`World`], under its key, and undoes it. It goes by the book: what has
/// happened does not happen twice, what was undone does not happen any more, and its probe closes the key.
/// Its input is handed on, one higher.
///
/// For definitions in which it does not matter what the steps do.
#[derive(Clone, Debug)]
pub struct Honest {
    /// Where it does it.
    pub world: World,
    /// What it does.
    pub what: String,
}

impl Honest {
    /// Does this in that world.
    #[must_use]
    pub fn new(world: &World, what: &str) -> Self {
        Self { world: world.clone(), what: what.to_owned() }
    }
}

#[async_trait]
impl Step for Honest {
    type Input = i64;
    type Output = i64;

    async fn run(&self, cx: &StepContext, n: i64) -> Result<i64, StepError> {
        let (world, key, what) = (self.world.clone(), cx.key(), self.what.clone());
        match self.world.call(&self.what, move || world.apply(key, what)).await? {
            Applied::Now | Applied::Before => Ok(n + 1),
            Applied::Closed => Err(StepError::rejected("undone before it arrived")),
        }
    }

    async fn probe(&self, cx: &StepContext, n: i64) -> Result<Probe<i64>, StepError> {
        Ok(if self.world.close(cx.key()) { Probe::Applied(n + 1) } else { Probe::NotApplied })
    }
}

#[async_trait]
impl Compensation for Honest {
    async fn compensate(&self, cx: &StepContext, _n: i64, _outcome: Outcome<i64>) -> Result<(), StepError> {
        let (world, key) = (self.world.clone(), cx.step_key());
        self.world.call(&format!("undo {}", self.what), move || world.undo(key)).await?;
        Ok(())
    }
}
