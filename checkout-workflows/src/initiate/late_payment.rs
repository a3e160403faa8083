//! A payment that comes too late is paid back, by a saga of its own.

use async_trait::async_trait;
use saga_core::{BuildError, Definition, LateSignal, Step, StepContext, StepError};
use serde::{Deserialize, Serialize};

use super::checkout::InitiateServices;
use super::policy::Service;
use super::step::payment::pay_back;
use super::store::{RequirementState, StoreError};
use super::vendor::Standing;
use super::webhook::PaymentOutcome;
use crate::correlation::correlated;

/// The definition's name.
pub const NAME: &str = "checkout-late-payment";

/// What became of a payment that came too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LatePayment {
    /// The checkout was paid by it after all: the signal came twice in other words.
    Known,
    /// Nothing was taken.
    NothingTaken,
    /// It was paid back.
    PaidBack,
}

/// What sees to the payments that come for checkouts that are over.
///
/// # Errors
/// Never, unless the step below breaks a rule of sagas.
pub fn late_payment(s: &InitiateServices) -> Result<Definition<LateSignal, LatePayment>, BuildError> {
    Definition::build(NAME, 1, |saga, late| {
        let seen = saga.retryable("see-to-it", SeeToIt { s: s.clone() }, late);
        let seen = seen.calls(Service::PaymentRequirement.name()).retry(s.patience.clone());
        saga.returns(seen)
    })
}

struct SeeToIt {
    s: InitiateServices,
}

#[async_trait]
impl Step for SeeToIt {
    type Input = LateSignal;
    type Output = LatePayment;

    async fn run(&self, cx: &StepContext, late: LateSignal) -> Result<LatePayment, StepError> {
        let PaymentOutcome::Paid { .. } = late.decode().map_err(|error| StepError::fatal(error.to_string()))? else {
            return Ok(LatePayment::NothingTaken);
        };
        let rows = self.s.stores.requirements.of_context(&late.key).await.map_err(StoreError::into_step_error)?;
        let mut became = LatePayment::NothingTaken;
        for row in rows {
            // What the checkout was completed with stays.
            if row.state == RequirementState::Succeeded {
                became = LatePayment::Known;
                continue;
            }
            let asked = self.s.vendor.query(&row.merchant_reference);
            if let Standing::Captured(captured) = correlated(&late.key, asked).await? {
                let paid_back = pay_back(&self.s, cx, &row.merchant_reference, &captured);
                correlated(&late.key, paid_back).await?;
                became = LatePayment::PaidBack;
            }
        }
        Ok(became)
    }
}
