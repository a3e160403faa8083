//! The broker of the simulated world.

use std::sync::Arc;

use saga_core::async_trait;
use saga_core::publish::{EventPublisher, OutgoingEvent, PublishError};

use super::Sim;
use super::fate::Fate;
use super::process::Process;
use super::tape::Entry;

/// Takes every event, unless it is scheduled not to.
#[derive(Debug)]
pub(crate) struct SimPublisher {
    pub(crate) sim: Arc<Sim>,
    /// Where it publishes from.
    pub(crate) process: Arc<Process>,
}

#[async_trait]
impl EventPublisher for SimPublisher {
    async fn publish(&self, event: &OutgoingEvent) -> Result<(), PublishError> {
        let fate = self.sim.visit_next("publish", &event.topic, Fate::of_publish());
        let arrives = || {
            let mut state = self.sim.locked();
            state.published.push((event.saga, event.id.clone()));
            state.topics.insert(event.id.clone(), event.topic.clone());
            state.tape.add(Entry::new(format!("event of {} is published", event.topic)));
        };
        match fate {
            Some(Fate::Unsent) => Err(PublishError::transient("not sent, as scheduled")),
            Some(Fate::AnswerLost) => {
                arrives();
                Err(PublishError::transient("the answer was lost, as scheduled"))
            }
            Some(Fate::CrashBefore) => {
                self.sim.crash_of(&self.process, &format!("before event of {} is published", event.topic)).await
            }
            Some(Fate::CrashAfter) => {
                arrives();
                self.sim.crash_of(&self.process, &format!("after event of {} was published", event.topic)).await
            }
            _ => {
                arrives();
                Ok(())
            }
        }
    }
}
