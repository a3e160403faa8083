//! The session and the cart are there, fit for checkout, and complete.

use async_trait::async_trait;
use saga_core::{Step, StepContext, StepError};

use crate::confirm_checkout::ConfirmCheckout;
use crate::shop::{Checkout, Shop, ShopError};

pub(crate) struct Validate {
    pub(crate) shop: Shop,
}

#[async_trait]
impl Step for Validate {
    type Input = ConfirmCheckout;
    type Output = Checkout;

    async fn run(&self, _cx: &StepContext, request: ConfirmCheckout) -> Result<Checkout, StepError> {
        self.shop.validate_checkout(&request.checkout_session_id).await.map_err(ShopError::into_step_error)
    }
}
