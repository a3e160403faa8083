//! The order is confirmed.

use async_trait::async_trait;
use saga_core::{Step, StepContext, StepError};

use crate::payment::{Authorization, Capture};
use crate::shop::{Order, Paid, Shop, ShopError};

pub(crate) struct ConfirmOrder {
    pub(crate) shop: Shop,
}

#[async_trait]
impl Step for ConfirmOrder {
    type Input = (Order, Option<Authorization>, Option<Capture>);
    type Output = Order;

    async fn run(&self, _cx: &StepContext, (order, hold, payment): Self::Input) -> Result<Order, StepError> {
        let paid = hold.zip(payment).map(|(hold, payment)| Paid {
            authorization_id: hold.authorization_id,
            transaction_id: payment.transaction_id,
        });
        self.shop.confirm_order(&order.order_id, paid).await.map_err(ShopError::into_step_error)
    }
}
