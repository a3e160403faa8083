//! A stand-in for the repeat program, faults included.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use saga_core::{IdempotencyKey, StepError};

use super::{RepeatProgram, RepeatProgramAnswer, RepeatProgramRequest};
use crate::correlation;
use crate::initiate::classify::{ErrorCode, ServiceError};

#[derive(Debug, Default)]
struct State {
    taken: Vec<Taken>,
    outage: u32,
    lost: u32,
    refuses: bool,
}

/// A call that had its effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its key.
    pub key: IdempotencyKey,
    /// What was asked.
    pub request: RepeatProgramRequest,
    /// What it was told to belong to.
    pub correlation_id: Option<String>,
}

/// A stand-in for the repeat program. Clones are the same service. It is idempotent by key and keeps a book of
/// the calls that had an effect.
#[derive(Clone, Debug, Default)]
pub struct LocalRepeatProgram {
    state: Arc<Mutex<State>>,
}

impl LocalRepeatProgram {
    /// One that nobody has asked for anything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// So many calls are answered with an outage, and nothing happens.
    pub fn outage(&self, calls: u32) {
        self.state().outage = calls;
    }

    /// So many calls have their effect, and are not answered.
    pub fn lose_answers(&self, calls: u32) {
        self.state().lost = calls;
    }

    /// Whether every call is refused for good from now on.
    pub fn refuse(&self, refuses: bool) {
        self.state().refuses = refuses;
    }

    /// The calls that had an effect, each once, in their order.
    #[must_use]
    pub fn taken(&self) -> Vec<Taken> {
        self.state().taken.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl RepeatProgram for LocalRepeatProgram {
    async fn initiate_repeat_program(
        &self,
        key: IdempotencyKey,
        request: &RepeatProgramRequest,
    ) -> Result<RepeatProgramAnswer, StepError> {
        let mut state = self.state();
        if state.outage > 0 {
            state.outage -= 1;
            return Err(ServiceError::new(ErrorCode::ExternalFailure, "the repeat program is out of order").into());
        }
        if state.refuses {
            return Err(StepError::rejected("STATE_CONFLICT: the repeat program is closed"));
        }
        let known = state.taken.iter().find(|taken| taken.key == key);
        match known {
            Some(taken) if taken.request != *request => {
                return Err(StepError::rejected("IDEMPOTENCY_CONFLICT: another request had this key"));
            }
            Some(_) => {}
            None => {
                let correlation_id = correlation::current();
                state.taken.push(Taken { key, request: request.clone(), correlation_id });
            }
        }
        if state.lost > 0 {
            state.lost -= 1;
            return Err(ServiceError::new(ErrorCode::NetworkTimeout, "no answer in time").into());
        }
        Ok(RepeatProgramAnswer::Initiated { repeat_program_id: format!("rp_{key}") })
    }
}
