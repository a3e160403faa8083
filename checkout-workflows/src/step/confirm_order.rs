//! The order is confirmed.

use async_trait::async_trait;
use saga_core::{Step, StepContext, StepError};

use crate::payment::Capture;
use crate::shop::{Order, Shop, ShopError};

pub(crate) struct ConfirmOrder {
    pub(crate) shop: Shop,
}

#[async_trait]
impl Step for ConfirmOrder {
    type Input = (Order, Option<Capture>);
    type Output = Order;

    async fn run(&self, _cx: &StepContext, (order, payment): Self::Input) -> Result<Order, StepError> {
        let transaction = payment.map(|payment| payment.transaction_id);
        self.shop.confirm_order(&order.order_id, transaction).await.map_err(ShopError::into_step_error)
    }
}
