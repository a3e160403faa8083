//! The money is taken: the point of no return.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use saga_core::{Probe, Step, StepContext, StepError, Timestamp};

use crate::correlation::correlated;
use crate::payment::{Authorization, Capture, Operation, PaymentGateway};
use crate::shop::{Order, Reservation, Shop, ShopError};

/// How long before its end an authorization counts as expired: clocks differ, and calls take time.
const MARGIN: Duration = Duration::from_secs(60);

pub(crate) struct CapturePayment {
    pub(crate) gateway: Arc<dyn PaymentGateway>,
    pub(crate) shop: Shop,
}

/// How long a capture may take that begins now; none when the authorization has (almost) expired.
fn time_left(now: Timestamp, hold: &Authorization) -> Option<Duration> {
    let Some(before) = hold.capture_before else { return Some(Duration::MAX) };
    before.since(now).checked_sub(MARGIN).filter(|left| !left.is_zero())
}

#[async_trait]
impl Step for CapturePayment {
    type Input = (Option<Authorization>, Order, Reservation);
    /// None when there is nothing to take.
    type Output = Option<Capture>;

    /// The goods are looked at once more before the money is taken. From here on they do not run out: as long
    /// as nobody knows whether the money was taken, they stay held, until they are sold or released.
    async fn run(&self, cx: &StepContext, (hold, order, stock): Self::Input) -> Result<Self::Output, StepError> {
        let held = self.shop.pin_reservation(&stock.reservation_id).await;
        held.map_err(ShopError::into_step_error_before_effect)?;
        let Some(hold) = hold else { return Ok(None) };
        let Some(left) = time_left(cx.now(), &hold) else {
            return Err(StepError::rejected("the authorization has expired"));
        };
        let captured = self.gateway.capture(cx.key(), &hold, order.total);
        match tokio::time::timeout(left, correlated(&cx.saga_id().to_string(), captured)).await {
            Ok(answer) => answer.map(Some),
            Err(_) => Err(StepError::retry("the authorization expires, and the capture was not answered")),
        }
    }

    /// Nothing is voided or paid back on a guess: the gateway closes the key, and what it then says
    /// stays true.
    async fn probe(&self, cx: &StepContext, (hold, _, _): Self::Input) -> Result<Probe<Self::Output>, StepError> {
        if hold.is_none() {
            return Ok(Probe::Applied(None));
        }
        Ok(match correlated(&cx.saga_id().to_string(), self.gateway.close(cx.step_key())).await? {
            Operation::Done { id, .. } => Probe::Applied(Some(Capture { transaction_id: id })),
            Operation::Declined { .. } => Probe::NotApplied,
            Operation::Unknown if self.gateway.key_rules().closes_keys => Probe::NotApplied,
            // It may still be on its way: a human decides, when the gateway goes on not knowing.
            Operation::Unknown => Probe::Unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_captured_in_the_last_minute_of_an_authorization() {
        let hold = |capture_before| Authorization { authorization_id: "a".to_owned(), capture_before };
        let day = Duration::from_secs(24 * 60 * 60);
        let start = Timestamp::from_micros(0);
        let expires = hold(Some(start.after(7 * day)));
        let left = |now: Duration| time_left(start.after(now), &expires);
        let second = Duration::from_secs(1);
        assert_eq!(left(7 * day - MARGIN - second), Some(second));
        assert_eq!(left(7 * day - MARGIN), None);
        assert_eq!(left(7 * day - MARGIN + second), None);
        assert_eq!(left(7 * day + second), None);
        assert_eq!(time_left(start, &hold(None)), Some(Duration::MAX), "a gateway that does not say");
    }
}
