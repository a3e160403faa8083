//! Sagas that do nothing but leave about 100 bytes at each step.

use saga_core::{BuildError, Definition, Engine, SagaOutcome, StepContext, StepError, step_fn};

use crate::RESULT;

async fn step(_cx: StepContext, _input: String) -> Result<String, StepError> {
    Ok(RESULT.to_owned())
}

/// A saga of `steps` steps in sequence, each without effect.
///
/// # Errors
/// Never for `steps` of one or more.
pub fn noop(steps: usize) -> Result<Definition<String, String>, BuildError> {
    Definition::build(&format!("noop-{steps}"), 1, |saga, input| {
        let mut last = saga.query("step-1", step_fn(step), input);
        for nth in 2..=steps {
            last = saga.query(&format!("step-{nth}"), step_fn(step), last);
        }
        saga.returns(last)
    })
}

/// One saga of the engine, from start to outcome.
///
/// # Errors
/// When it does not complete.
pub async fn run_saga(engine: &Engine, definition: &Definition<String, String>, key: &str) -> Result<(), String> {
    let saga = engine.start(definition, key, String::new()).await.map_err(|error| error.to_string())?;
    match saga.outcome().await.map_err(|error| error.to_string())? {
        SagaOutcome::Completed(_) => Ok(()),
        other => Err(format!("a saga that does nothing failed: {other:?}")),
    }
}
