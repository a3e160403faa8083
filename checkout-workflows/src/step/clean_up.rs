//! The cart is used up, the session is deleted.

use async_trait::async_trait;
use saga_core::{Step, StepContext, StepError};

use crate::shop::{Checkout, Shop, ShopError};

pub(crate) struct CleanUp {
    pub(crate) shop: Shop,
}

#[async_trait]
impl Step for CleanUp {
    type Input = Checkout;
    type Output = ();

    async fn run(&self, _cx: &StepContext, checkout: Checkout) -> Result<(), StepError> {
        self.shop.clean_up(&checkout.cart_id, &checkout.checkout_session_id).await.map_err(ShopError::into_step_error)
    }
}
