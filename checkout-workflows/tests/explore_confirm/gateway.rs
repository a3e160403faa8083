//! The fake gateway, each call a point of the schedule.

use checkout_workflows::Money;
use checkout_workflows::payment::{Authorization, Capture, KeyRules, Operation, Payment, PaymentGateway};
use futures_util::FutureExt as _;
use saga_core::{IdempotencyKey, StepError, async_trait};
use saga_testkit::World;

use super::fake::FakeGateway;

#[derive(Clone, Debug)]
pub(crate) struct ScheduledGateway {
    pub(crate) books: FakeGateway,
    pub(crate) world: World,
}

impl ScheduledGateway {
    async fn call<T: Send + 'static>(
        &self,
        name: &'static str,
        request: impl AsyncFnOnce(FakeGateway) -> Result<T, StepError> + Send + 'static,
    ) -> Result<T, StepError> {
        let books = self.books.clone();
        // The fake answers at once, when it is not told to do otherwise.
        self.world.call(name, move || request(books).now_or_never()).await?.unwrap()
    }
}

#[async_trait]
impl PaymentGateway for ScheduledGateway {
    fn key_rules(&self) -> KeyRules {
        self.books.rules
    }

    async fn authorize(
        &self,
        key: IdempotencyKey,
        amount: Money,
        method: &str,
        reference: &str,
    ) -> Result<Authorization, StepError> {
        let (method, reference) = (method.to_owned(), reference.to_owned());
        self.call("authorize", async move |books| books.authorize(key, amount, &method, &reference).await).await
    }

    async fn capture(&self, key: IdempotencyKey, hold: &Authorization, amount: Money) -> Result<Capture, StepError> {
        let hold = hold.clone();
        self.call("capture", async move |books| books.capture(key, &hold, amount).await).await
    }

    async fn void(&self, key: IdempotencyKey, authorization_id: &str) -> Result<(), StepError> {
        let id = authorization_id.to_owned();
        self.call("void", async move |books| books.void(key, &id).await).await
    }

    async fn refund(&self, key: IdempotencyKey, transaction_id: &str, amount: Money) -> Result<(), StepError> {
        let id = transaction_id.to_owned();
        self.call("refund", async move |books| books.refund(key, &id, amount).await).await
    }

    async fn look_up(&self, key: IdempotencyKey) -> Result<Operation, StepError> {
        self.call("look-up", async move |books| books.look_up(key).await).await
    }

    async fn payment(&self, key: IdempotencyKey) -> Result<Option<Payment>, StepError> {
        self.call("payment", async move |books| books.payment(key).await).await
    }

    async fn close(&self, key: IdempotencyKey) -> Result<Operation, StepError> {
        self.call("close", async move |books| books.close(key).await).await
    }
}
