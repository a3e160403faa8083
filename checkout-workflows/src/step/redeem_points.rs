//! The customer's loyalty points are used.

use async_trait::async_trait;
use saga_core::{Compensation, Outcome, Step, StepContext, StepError};

use crate::shop::{Checkout, Shop, ShopError};

pub(crate) struct RedeemPoints {
    pub(crate) shop: Shop,
}

#[async_trait]
impl Step for RedeemPoints {
    type Input = Checkout;
    type Output = ();

    async fn run(&self, cx: &StepContext, checkout: Checkout) -> Result<(), StepError> {
        let (key, points) = (cx.key().to_string(), checkout.loyalty_points_to_use);
        self.shop.redeem_points(&key, &checkout.customer_id, points).await.map_err(ShopError::into_step_error)
    }
}

#[async_trait]
impl Compensation for RedeemPoints {
    async fn compensate(&self, cx: &StepContext, _: Checkout, _: Outcome<()>) -> Result<(), StepError> {
        self.shop.return_points(&cx.step_key().to_string()).await.map_err(ShopError::into_step_error)
    }
}
