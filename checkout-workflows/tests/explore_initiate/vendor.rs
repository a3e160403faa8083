//! The stand-in vendor, each call a point of the schedule; and the customer, who acts at its counter.

use std::sync::{Arc, Mutex};

use checkout_workflows::Money;
use checkout_workflows::initiate::store::{RequirementState, Stores};
use checkout_workflows::initiate::vendor::{
    Cancellation, DeclineCode, LocalVendor, PaymentAnswer, PaymentRequest, PaymentVendor, Refund, Standing,
};
use futures_util::FutureExt as _;
use saga_core::{IdempotencyKey, StepError, async_trait};
use saga_testkit::World;

/// What the customer does about the payment, whatever the saga is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Customer {
    /// As soon as the vendor knows of it.
    Pays,
    /// The bank declines.
    Fails,
    /// Nothing, ever.
    StaysAway,
    /// Just before the payment would be closed.
    PaysAtTheLastMoment,
}

#[derive(Clone, Debug)]
pub(crate) struct ScheduledVendor {
    pub(crate) vendor: LocalVendor,
    pub(crate) customer: Customer,
    pub(crate) world: World,
    pub(crate) stores: Stores,
    /// What was found out of order on the way.
    pub(crate) complaints: Complaints,
}

pub(crate) type Complaints = Arc<Mutex<Vec<String>>>;

impl ScheduledVendor {
    async fn call<T: Send + 'static>(
        &self,
        name: &'static str,
        request: impl AsyncFnOnce(LocalVendor) -> Result<T, StepError> + Send + 'static,
    ) -> Result<T, StepError> {
        let vendor = self.vendor.clone();
        // The stand-in answers at once, when it is not told to do otherwise.
        self.world.call(name, move || request(vendor).now_or_never()).await?.unwrap()
    }
}

impl ScheduledVendor {
    /// What the customer can still pay is not to be taken back on our side: it is closed first.
    async fn still_expected(&self, reference: &str) {
        let row = self.stores.requirements.by_merchant_reference(reference).await.unwrap();
        let taken_back = row.is_some_and(|row| row.state == RequirementState::Cancelled);
        if taken_back && matches!(self.vendor.standing(reference), Standing::Pending(_)) {
            self.complaints.lock().unwrap().push("it was taken back while it could be paid".to_owned());
        }
    }
}

#[async_trait]
impl PaymentVendor for ScheduledVendor {
    async fn create(&self, key: IdempotencyKey, request: &PaymentRequest) -> Result<PaymentAnswer, StepError> {
        let (request, customer) = (request.clone(), self.customer);
        let create = async move |vendor: LocalVendor| {
            let answer = vendor.create(key, &request).await;
            // They act once: a payment that is closed, or was acted upon, is not waiting for them.
            match customer {
                Customer::Pays => vendor.pay(&request.merchant_reference).ok(),
                Customer::Fails => vendor.fail(&request.merchant_reference, DeclineCode::PaymentDeclined).ok(),
                Customer::StaysAway | Customer::PaysAtTheLastMoment => None,
            };
            answer
        };
        self.call("create", create).await
    }

    async fn query(&self, merchant_reference: &str) -> Result<Standing, StepError> {
        let reference = merchant_reference.to_owned();
        self.call("query", async move |vendor| vendor.query(&reference).await).await
    }

    async fn cancel(&self, key: IdempotencyKey, merchant_reference: &str) -> Result<Cancellation, StepError> {
        self.still_expected(merchant_reference).await;
        let (reference, customer) = (merchant_reference.to_owned(), self.customer);
        let cancel = async move |vendor: LocalVendor| {
            if customer == Customer::PaysAtTheLastMoment {
                vendor.pay(&reference).ok();
            }
            vendor.cancel(key, &reference).await
        };
        self.call("cancel", cancel).await
    }

    async fn refund(&self, key: IdempotencyKey, merchant_reference: &str, amount: Money) -> Result<Refund, StepError> {
        let reference = merchant_reference.to_owned();
        self.call("refund", async move |vendor| vendor.refund(key, &reference, amount).await).await
    }
}
