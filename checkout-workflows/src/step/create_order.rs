//! The order exists, with its event, and waits to be paid.

use async_trait::async_trait;
use saga_core::{Compensation, Outcome, Step, StepContext, StepError};

use crate::payment::Authorization;
use crate::pricing::Totals;
use crate::shop::{Checkout, NewOrder, Order, Shop, ShopError};

pub(crate) struct CreateOrder {
    pub(crate) shop: Shop,
}

#[async_trait]
impl Step for CreateOrder {
    type Input = (Checkout, Totals, Option<Authorization>);
    type Output = Order;

    async fn run(&self, cx: &StepContext, (checkout, totals, hold): Self::Input) -> Result<Order, StepError> {
        let payment_status = match hold {
            Some(_) => "authorized",
            None if totals.total.minor() == 0 => "paid",
            None => "pending",
        };
        let authorization_id = hold.map(|hold| hold.authorization_id);
        let new = NewOrder { checkout, totals, payment_status, authorization_id };
        self.shop.create_order(&cx.key().to_string(), new).await.map_err(ShopError::into_step_error)
    }
}

#[async_trait]
impl Compensation for CreateOrder {
    async fn compensate(&self, cx: &StepContext, _: Self::Input, _: Outcome<Order>) -> Result<(), StepError> {
        self.shop.cancel_order(&cx.step_key().to_string()).await.map_err(ShopError::into_step_error)
    }
}
