//! The money is taken: the point of no return.

use std::sync::Arc;

use async_trait::async_trait;
use saga_core::{Probe, Step, StepContext, StepError};

use crate::payment::{Authorization, Capture, Operation, PaymentGateway};
use crate::shop::Order;

pub(crate) struct CapturePayment {
    pub(crate) gateway: Arc<dyn PaymentGateway>,
}

#[async_trait]
impl Step for CapturePayment {
    type Input = (Option<Authorization>, Order);
    /// None when there is nothing to take.
    type Output = Option<Capture>;

    async fn run(&self, cx: &StepContext, (hold, order): Self::Input) -> Result<Self::Output, StepError> {
        match hold {
            Some(hold) => self.gateway.capture(cx.key(), &hold, order.total).await.map(Some),
            None => Ok(None),
        }
    }

    /// Nothing is voided or paid back on a guess: the gateway closes the key, and what it then says
    /// stays true.
    async fn probe(&self, cx: &StepContext, (hold, _): Self::Input) -> Result<Probe<Self::Output>, StepError> {
        if hold.is_none() {
            return Ok(Probe::Applied(None));
        }
        Ok(match self.gateway.close(cx.step_key()).await? {
            Operation::Done { id } => Probe::Applied(Some(Capture { transaction_id: id })),
            Operation::Declined { .. } | Operation::Unknown => Probe::NotApplied,
        })
    }
}
