//! Everything in the cart is held in stock for 15 minutes, or nothing is.

use async_trait::async_trait;
use saga_core::{Compensation, Outcome, Step, StepContext, StepError};

use crate::shop::{Checkout, Reservation, Shop, ShopError};

pub(crate) struct ReserveStock {
    pub(crate) shop: Shop,
}

#[async_trait]
impl Step for ReserveStock {
    type Input = Checkout;
    type Output = Reservation;

    async fn run(&self, cx: &StepContext, checkout: Checkout) -> Result<Reservation, StepError> {
        self.shop.reserve(&cx.key().to_string(), &checkout.items).await.map_err(ShopError::into_step_error)
    }
}

#[async_trait]
impl Compensation for ReserveStock {
    async fn compensate(&self, cx: &StepContext, _: Checkout, _: Outcome<Reservation>) -> Result<(), StepError> {
        // By the step's key: whether the reservation was made, or is still on its way.
        self.shop.release(&cx.step_key().to_string()).await.map_err(ShopError::into_step_error)
    }
}
