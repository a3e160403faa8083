//! A publisher that remembers what it was given, and fails when it is told to.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use saga_core::SagaId;
use saga_core::publish::{EventPublisher, OutgoingEvent, PublishError};
use tokio::sync::watch;

/// How publishing fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishFault {
    /// The broker does not get the event, and it is worth another try.
    Transient,
    /// The broker gets the event, and its answer is lost: the next try is a duplicate.
    AnswerLost,
    /// The broker refuses the event for good.
    Rejected,
}

#[derive(Debug, Default)]
struct Broker {
    /// Everything that arrived, duplicates included.
    arrived: Vec<OutgoingEvent>,
    /// The next calls fail like this.
    next: Vec<PublishFault>,
    /// Every event of this topic fails like this.
    topics: BTreeMap<String, PublishFault>,
    /// How many calls are under way, and of which sagas.
    under_way: Vec<SagaId>,
    most_under_way: usize,
    overlapped: bool,
    calls: usize,
}

/// Remembers the events that were published; clones share what they remember.
#[derive(Clone, Debug)]
pub struct RecordingPublisher {
    broker: Arc<Mutex<Broker>>,
    held: Arc<watch::Sender<bool>>,
}

impl Default for RecordingPublisher {
    fn default() -> Self {
        Self { broker: Arc::default(), held: Arc::new(watch::Sender::new(false)) }
    }
}

impl RecordingPublisher {
    /// A broker that takes everything, so far.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the next calls fail, one after the other, like this.
    pub fn fail_next(&self, faults: &[PublishFault]) {
        self.locked().next.extend_from_slice(faults);
    }

    /// Makes every event of the topic fail like this, or lets the topic's events through again.
    pub fn fail_topic(&self, topic: &str, fault: Option<PublishFault>) {
        match fault {
            Some(fault) => self.locked().topics.insert(topic.to_owned(), fault),
            None => self.locked().topics.remove(topic),
        };
    }

    /// Keeps all calls waiting, or lets them go on.
    pub fn hold(&self, on: bool) {
        self.held.send_replace(on);
    }

    /// Everything that arrived, in order, duplicates included.
    #[must_use]
    pub fn arrived(&self) -> Vec<OutgoingEvent> {
        self.locked().arrived.clone()
    }

    /// What a consumer makes of it that drops events whose id it has seen.
    #[must_use]
    pub fn published(&self) -> Vec<OutgoingEvent> {
        let mut seen = HashSet::new();
        self.arrived().into_iter().filter(|event| seen.insert(event.id.clone())).collect()
    }

    /// How many calls were made, whether or not they failed.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.locked().calls
    }

    /// How many calls were under way together at most.
    #[must_use]
    pub fn most_under_way(&self) -> usize {
        self.locked().most_under_way
    }

    /// Whether two events of one saga were ever under way together, which the relay promises not to do.
    #[must_use]
    pub fn overlapped(&self) -> bool {
        self.locked().overlapped
    }

    fn locked(&self) -> MutexGuard<'_, Broker> {
        self.broker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, saga: SagaId) -> UnderWay<'_> {
        let mut broker = self.locked();
        broker.calls += 1;
        broker.overlapped |= broker.under_way.contains(&saga);
        broker.under_way.push(saga);
        broker.most_under_way = broker.most_under_way.max(broker.under_way.len());
        UnderWay { publisher: self, saga }
    }
}

/// A call that is under way, until it is dropped.
struct UnderWay<'a> {
    publisher: &'a RecordingPublisher,
    saga: SagaId,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut broker = self.publisher.locked();
        if let Some(at) = broker.under_way.iter().position(|saga| *saga == self.saga) {
            broker.under_way.swap_remove(at);
        }
    }
}

#[async_trait]
impl EventPublisher for RecordingPublisher {
    async fn publish(&self, event: &OutgoingEvent) -> Result<(), PublishError> {
        let _under_way = self.begin(event.saga);
        // The sender lives as long as this publisher.
        self.held.subscribe().wait_for(|held| !held).await.ok();
        let mut broker = self.locked();
        let planned = if broker.next.is_empty() { None } else { Some(broker.next.remove(0)) };
        let fault = planned.or_else(|| broker.topics.get(&event.topic).copied());
        if matches!(fault, None | Some(PublishFault::AnswerLost)) {
            broker.arrived.push(event.clone());
        }
        match fault {
            None => Ok(()),
            Some(PublishFault::Transient) => Err(PublishError::transient("the broker is away, as planned")),
            Some(PublishFault::AnswerLost) => Err(PublishError::transient("the answer was lost, as planned")),
            Some(PublishFault::Rejected) => Err(PublishError::rejected("refused, as planned")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn event(id: &str, saga: SagaId) -> OutgoingEvent {
        let (headers, payload) = (BTreeMap::new(), "1".to_owned());
        OutgoingEvent { id: id.to_owned(), topic: "t".to_owned(), saga, headers, payload, attempt: 1 }
    }

    #[tokio::test]
    async fn planned_faults_come_in_order_and_a_lost_answer_leaves_a_duplicate() {
        let (publisher, saga) = (RecordingPublisher::new(), SagaId::new());
        publisher.fail_next(&[PublishFault::Transient, PublishFault::AnswerLost]);
        assert!(publisher.publish(&event("a", saga)).await.is_err_and(|error| error.is_transient()));
        assert!(publisher.publish(&event("a", saga)).await.is_err_and(|error| error.is_transient()));
        publisher.publish(&event("a", saga)).await.unwrap();
        assert_eq!((publisher.calls(), publisher.arrived().len(), publisher.published().len()), (3, 2, 1));
        publisher.fail_topic("t", Some(PublishFault::Rejected));
        assert!(publisher.publish(&event("b", saga)).await.is_err_and(|error| !error.is_transient()));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_for_one_saga_that_overlap_are_noticed_and_dropped_ones_are_over() {
        let (publisher, saga) = (RecordingPublisher::new(), SagaId::new());
        publisher.hold(true);
        let [one, two] = [event("a", saga), event("b", saga)];
        let waited = tokio::time::timeout(Duration::from_secs(1), publisher.publish(&one)).await;
        assert!(waited.is_err());
        publisher.hold(false);
        publisher.publish(&two).await.unwrap();
        assert!(!publisher.overlapped());
        publisher.hold(true);
        let both = async { tokio::join!(publisher.publish(&one), publisher.publish(&two)) };
        let (both, ()) = tokio::join!(both, async {
            tokio::task::yield_now().await;
            publisher.hold(false);
        });
        assert!(both.0.is_ok() && both.1.is_ok());
        assert!(publisher.overlapped());
        assert_eq!(publisher.most_under_way(), 2);
    }
}
