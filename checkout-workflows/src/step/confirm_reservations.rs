//! What was held is sold. Should that fail, the order stands, and says so in its metadata.

use async_trait::async_trait;
use saga_core::{Soft, Step, StepContext, StepError};

use crate::shop::{Order, Reservation, Shop, ShopError};

pub(crate) struct ConfirmReservations {
    pub(crate) shop: Shop,
}

#[async_trait]
impl Step for ConfirmReservations {
    type Input = Reservation;
    type Output = ();

    async fn run(&self, _cx: &StepContext, reservation: Reservation) -> Result<(), StepError> {
        self.shop.confirm_reservation(&reservation.reservation_id).await.map_err(ShopError::into_step_error)
    }
}

/// Writes the soft failure where the shop's people look for it.
pub(crate) struct RecordSoftFailures {
    pub(crate) shop: Shop,
}

#[async_trait]
impl Step for RecordSoftFailures {
    type Input = (Order, Soft<()>);
    type Output = ();

    async fn run(&self, _cx: &StepContext, (order, confirmed): Self::Input) -> Result<(), StepError> {
        match confirmed {
            Soft::Done(()) => Ok(()),
            Soft::Failed(error) => self
                .shop
                .record_reservation_errors(&order.order_id, vec![error])
                .await
                .map_err(ShopError::into_step_error),
        }
    }
}
