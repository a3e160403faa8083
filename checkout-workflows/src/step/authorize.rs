//! The customer's money is held. Nothing is taken yet.

use std::sync::Arc;

use async_trait::async_trait;
use saga_core::{Compensation, Outcome, Probe, Step, StepContext, StepError};

use crate::correlation::correlated;
use crate::payment::{Authorization, Operation, PaymentGateway, reverse};
use crate::pricing::Totals;
use crate::shop::{Checkout, Shop, ShopError};

pub(crate) struct Authorize {
    pub(crate) gateway: Arc<dyn PaymentGateway>,
    pub(crate) shop: Shop,
}

/// Whether the gateway has anything to do with this checkout.
pub(crate) fn skips_gateway(checkout: &Checkout, totals: &Totals) -> bool {
    checkout.payment_method.is_cash_on_delivery() || totals.total.minor() == 0
}

#[async_trait]
impl Step for Authorize {
    type Input = (Checkout, Totals);
    /// None when there is nothing to hold.
    type Output = Option<Authorization>;

    async fn run(&self, cx: &StepContext, (checkout, totals): Self::Input) -> Result<Self::Output, StepError> {
        if skips_gateway(&checkout, &totals) {
            return Ok(None);
        }
        let method = &checkout.payment_method.id;
        let asked = self.gateway.authorize(cx.key(), totals.total, method, &checkout.cart_id);
        correlated(&cx.saga_id().to_string(), asked).await.map(Some)
    }

    async fn probe(&self, cx: &StepContext, (checkout, totals): Self::Input) -> Result<Probe<Self::Output>, StepError> {
        if skips_gateway(&checkout, &totals) {
            return Ok(Probe::Applied(None));
        }
        let closes = self.gateway.key_rules().closes_keys;
        Ok(match correlated(&cx.saga_id().to_string(), self.gateway.close(cx.step_key())).await? {
            Operation::Done { id, capture_before } => {
                Probe::Applied(Some(Authorization { authorization_id: id, capture_before }))
            }
            // Whatever is still on its way finds a tombstone.
            Operation::Declined { .. } | Operation::Unknown if closes => Probe::NotApplied,
            Operation::Declined { .. } => Probe::NotApplied,
            // It may still be on its way.
            Operation::Unknown => Probe::Unknown,
        })
    }
}

#[async_trait]
impl Compensation for Authorize {
    async fn compensate(
        &self,
        cx: &StepContext,
        (checkout, totals): Self::Input,
        _: Outcome<Self::Output>,
    ) -> Result<(), StepError> {
        if skips_gateway(&checkout, &totals) {
            return Ok(());
        }
        // By the step's key, because there may be no authorization id to go by.
        let payment = reverse(&*self.gateway, cx.key(), cx.step_key(), totals.total.currency());
        if let Some(payment) = correlated(&cx.saga_id().to_string(), payment).await? {
            let learned = self.shop.learn_payment(&payment.authorization_id, payment.state).await;
            learned.map_err(ShopError::into_step_error)?;
        }
        Ok(())
    }
}
