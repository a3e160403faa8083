//! Undoing a payment, whatever became of it.

use saga_core::{Class, IdempotencyKey, StepError};

use super::{Operation, Payment, PaymentGateway, PaymentStatus};
use crate::money::{Currency, Money};
use crate::seeded::seeded;

/// Releases or pays back what was held under `authorize_key`; what the gateway tells last is returned,
/// none when nothing was ever held.
///
/// Whether that takes a void or a refund is read from the gateway at this moment, and not from what the
/// caller believes: the two are different verbs, and a capture may have gone through in between. The
/// wrong verb is refused; then the gateway is asked again. `key` is the compensation's own.
///
/// # Errors
/// Transient, until the gateway agrees: it may have had an effect, and doing it again is safe.
pub async fn reverse(
    gateway: &dyn PaymentGateway,
    key: IdempotencyKey,
    authorize_key: IdempotencyKey,
    currency: Currency,
) -> Result<Option<Payment>, StepError> {
    // First of all nothing more may happen under the key: an authorization that is still on its way
    // finds a tombstone.
    if !matches!(gateway.close(authorize_key).await?, Operation::Done { .. }) {
        return Ok(None);
    }
    let payment = gateway.payment(authorize_key).await?;
    let Some(payment) = payment else {
        return Err(StepError::retry("the gateway knows the authorization's key, and not the authorization"));
    };
    let state = payment.state.check().map_err(StepError::fatal)?;
    let status = if seeded("M18") { PaymentStatus::Captured } else { state.status() };
    match status {
        PaymentStatus::None | PaymentStatus::Voided | PaymentStatus::Expired | PaymentStatus::Refunded => {
            return Ok(Some(payment));
        }
        PaymentStatus::Authorized => {
            look_again(gateway.void(key.part("void"), &payment.authorization_id).await)?;
        }
        PaymentStatus::Captured | PaymentStatus::PartiallyRefunded => {
            let transaction = payment.transaction_id.as_deref().unwrap_or_default();
            let rest = state.net();
            // What is left to pay back is part of the key: another amount is another operation.
            let key = key.part(&format!("refund {rest}"));
            look_again(gateway.refund(key, transaction, Money::new(rest, currency)).await)?;
        }
    }
    gateway.payment(authorize_key).await
}

/// A refusal means that the payment is no longer what it was a moment ago.
fn look_again(answer: Result<(), StepError>) -> Result<(), StepError> {
    answer.map_err(|error| match error.fault().class {
        Class::Terminal => StepError::retry(error.fault()),
        Class::Transient => error,
    })
}
