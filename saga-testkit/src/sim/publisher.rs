//! The broker of the simulated world.

use std::sync::Arc;

use saga_core::async_trait;
use saga_core::publish::{EventPublisher, OutgoingEvent, PublishError};

use super::Sim;
use super::fate::Fate;
use super::tape::Entry;

/// Takes every event, unless it is scheduled not to.
#[derive(Debug)]
pub(crate) struct SimPublisher(pub(crate) Arc<Sim>);

#[async_trait]
impl EventPublisher for SimPublisher {
    async fn publish(&self, event: &OutgoingEvent) -> Result<(), PublishError> {
        let fate = self.0.visit_next("publish", &event.topic, Fate::of_publish());
        let arrives = || {
            let mut state = self.0.locked();
            state.published.push((event.saga, event.id.clone()));
            state.tape.add(Entry::new(format!("event of {} is published", event.topic)));
        };
        match fate {
            Some(Fate::Unsent) => Err(PublishError::transient("not sent, as scheduled")),
            Some(Fate::AnswerLost) => {
                arrives();
                Err(PublishError::transient("the answer was lost, as scheduled"))
            }
            Some(Fate::CrashBefore) => self.0.crash(&format!("before event of {} is published", event.topic)).await,
            Some(Fate::CrashAfter) => {
                arrives();
                self.0.crash(&format!("after event of {} was published", event.topic)).await
            }
            _ => {
                arrives();
                Ok(())
            }
        }
    }
}
