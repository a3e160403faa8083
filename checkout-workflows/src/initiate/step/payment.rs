//! The payment: asked for before the point of no return, and settled at it.

use async_trait::async_trait;
use chrono::Duration as Days;
use saga_core::{Compensation, Outcome, Probe, Step, StepContext, StepError, Timestamp};
use serde::{Deserialize, Serialize};

use super::part;
use crate::correlation::correlated;
use crate::initiate::checkout::{InitiateServices, Initiation};
use crate::initiate::classify::{ErrorCode, ServiceError};
use crate::initiate::invoice::Invoice;
use crate::initiate::store::{
    CheckoutOrder, LineItemState, NewArrear, NewRequirement, Requirement, RequirementState, StoreError,
};
use crate::initiate::vendor::{Cancellation, Captured, Decline, PaymentAnswer, PaymentRequest, Standing};
use crate::initiate::webhook::PaymentOutcome;
use crate::money::Money;
use crate::seeded::seeded;

/// When what a failed payment leaves owed is asked for again.
const ARREARS_DUE: Days = Days::days(3);

/// A payment that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RequestedPayment {
    /// The payment collection requirement, which is also what the vendor knows it by.
    pub(crate) requirement_id: String,
    pub(crate) amount: Money,
    pub(crate) owed: Money,
    pub(crate) sets_up_mandate: bool,
    pub(crate) answer: PaymentAnswer,
}

impl RequestedPayment {
    /// Whether the customer must act first.
    pub(crate) fn awaits_customer(&self) -> bool {
        matches!(self.answer, PaymentAnswer::RequiresClientAction(_))
    }
}

/// How a checkout was paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "settled", rename_all = "snake_case")]
pub(crate) enum Settled {
    /// There was nothing to collect now: cash, nothing payable, or paid later.
    NothingToCollect,
    /// The vendor has the money.
    Paid { requirement_id: String, captured: Captured },
}

impl Settled {
    pub(crate) fn requirement_id(&self) -> Option<String> {
        match self {
            Self::NothingToCollect => None,
            Self::Paid { requirement_id, .. } => Some(requirement_id.clone()),
        }
    }
}

type Request = (Initiation, Invoice, CheckoutOrder);

/// Records the requirement, and asks the vendor for the payment.
pub(crate) struct RequestPayment {
    pub(crate) s: InitiateServices,
}

#[async_trait]
impl Step for RequestPayment {
    type Input = Request;
    type Output = RequestedPayment;

    async fn run(&self, cx: &StepContext, asked: Self::Input) -> Result<RequestedPayment, StepError> {
        let id = asked.0.execution_context_id.clone();
        correlated(&id, self.request(cx, asked)).await
    }
}

impl RequestPayment {
    async fn request(&self, cx: &StepContext, (begin, invoice, order): Request) -> Result<RequestedPayment, StepError> {
        let (reference, requirements) = (reference(cx), &self.s.stores.requirements);
        let opened = begin.opened(&self.s.pii)?;
        let new = NewRequirement {
            execution_context_id: begin.execution_context_id.clone(),
            checkout_order_id: order.checkout_order_id,
            user_id: begin.request.user_id.clone(),
            merchant_reference: reference.clone(),
            amount: invoice.payable,
        };
        let row = requirements.create(&super::key(cx), new).await.map_err(StoreError::into_step_error)?;
        let online = opened.online_payment();
        // Without a mandate this payment sets one up.
        let sets_up_mandate = online.is_none_or(|online| online.mandate_info.is_none());
        let request = PaymentRequest {
            merchant_reference: reference,
            amount: invoice.payable,
            customer_id: begin.request.user_id.clone(),
            payment_method: online.map(|online| online.payment_method_identifier.clone()),
            sets_up_mandate,
        };
        // The requirement is there: whatever the vendor says, it has to be taken back.
        let asked = self.s.vendor.create(cx.key(), &request).await;
        let answer = asked.map_err(StepError::with_possible_effect)?;
        if let PaymentAnswer::Declined(decline) = &answer {
            return Err(fail(&self.s, cx, &row, invoice.owed, decline).await);
        }
        if let PaymentAnswer::RequiresClientAction(action) = &answer {
            let (code, transaction) = (&action.vendor_code, &action.vendor_transaction_id);
            let noted = requirements.note_vendor(&part(cx, "vendor"), &row.requirement_id, code, transaction).await;
            noted.map_err(|error| error.into_step_error().with_possible_effect())?;
        }
        let (requirement_id, amount, owed) = (row.requirement_id, invoice.payable, invoice.owed);
        Ok(RequestedPayment { requirement_id, amount, owed, sets_up_mandate, answer })
    }
}

#[async_trait]
impl Compensation for RequestPayment {
    /// Closed at the vendor first, so that it cannot be paid any more; what was paid is paid back.
    async fn compensate(
        &self,
        cx: &StepContext,
        asked: Self::Input,
        _: Outcome<RequestedPayment>,
    ) -> Result<(), StepError> {
        correlated(&asked.0.execution_context_id, self.take_back(cx)).await
    }
}

impl RequestPayment {
    async fn take_back(&self, cx: &StepContext) -> Result<(), StepError> {
        let reference = reference(cx);
        if seeded("M17") {
            let undone = self.s.stores.requirements.undo_create(&super::key(cx), &cx.key().to_string()).await;
            undone.map_err(StoreError::into_step_error)?;
        }
        if let Cancellation::AlreadyCaptured(captured) = self.s.vendor.cancel(cx.key(), &reference).await? {
            pay_back(&self.s, cx, &reference, &captured).await?;
        }
        let undone = self.s.stores.requirements.undo_create(&super::key(cx), &cx.key().to_string()).await;
        undone.map(drop).map_err(StoreError::into_step_error)
    }
}

type Settle = (Initiation, Option<RequestedPayment>, Option<Option<PaymentOutcome>>);

/// The point of no return: the vendor has the money, or there is none to collect.
pub(crate) struct SettlePayment {
    pub(crate) s: InitiateServices,
}

#[async_trait]
impl Step for SettlePayment {
    type Input = Settle;
    type Output = Settled;

    async fn run(&self, cx: &StepContext, settle: Settle) -> Result<Settled, StepError> {
        let id = settle.0.execution_context_id.clone();
        correlated(&id, self.settle(cx, settle)).await
    }

    async fn probe(&self, _: &StepContext, (begin, payment, _): Settle) -> Result<Probe<Settled>, StepError> {
        let Some(payment) = payment else { return Ok(Probe::NotApplied) };
        let asked = self.s.vendor.query(&payment.requirement_id);
        Ok(match correlated(&begin.execution_context_id, asked).await? {
            Standing::Captured(captured) => {
                Probe::Applied(Settled::Paid { requirement_id: payment.requirement_id, captured })
            }
            Standing::Declined(_) => Probe::NotApplied,
            Standing::Unknown | Standing::Pending(_) => Probe::Unknown,
        })
    }
}

impl SettlePayment {
    async fn settle(&self, cx: &StepContext, (begin, payment, told): Settle) -> Result<Settled, StepError> {
        self.reread(&begin).await?;
        let Some(payment) = payment else { return Ok(Settled::NothingToCollect) };
        let row = self.s.stores.requirements.get(&payment.requirement_id).await.map_err(StoreError::into_step_error)?;
        let row = row.ok_or_else(|| StepError::fatal(format!("{} is gone", payment.requirement_id)))?;
        if let PaymentAnswer::Succeeded(captured) = &payment.answer {
            return received(&self.s, cx, &row, captured.clone()).await;
        }
        match told.flatten() {
            Some(PaymentOutcome::Paid { .. }) => match self.s.vendor.query(&row.merchant_reference).await? {
                Standing::Captured(captured) => received(&self.s, cx, &row, captured).await,
                Standing::Declined(decline) => Err(fail(&self.s, cx, &row, payment.owed, &decline).await),
                Standing::Unknown | Standing::Pending(_) => {
                    Err(StepError::unsent("the vendor does not confirm yet what its webhook told"))
                }
            },
            told => self.close(cx, &row, payment.owed, told.as_ref()).await,
        }
    }

    /// What was cancelled since it was priced is not to be paid for.
    async fn reread(&self, begin: &Initiation) -> Result<(), StepError> {
        for id in begin.request.line_items.ids() {
            let item = self.s.stores.line_items.get(id).await.map_err(StoreError::into_step_error)?;
            if item.is_some_and(|item| item.state == LineItemState::Cancelled) {
                return Err(ServiceError::new(ErrorCode::StateConflict, format!("{id} was cancelled meanwhile")).into());
            }
        }
        Ok(())
    }

    /// The payment failed, or did not come in time: closed at the vendor first, whose answer decides.
    async fn close(
        &self,
        cx: &StepContext,
        row: &Requirement,
        owed: Money,
        told: Option<&PaymentOutcome>,
    ) -> Result<Settled, StepError> {
        match self.s.vendor.cancel(cx.key(), &row.merchant_reference).await? {
            Cancellation::AlreadyCaptured(captured) => received(&self.s, cx, row, captured).await,
            Cancellation::Closed => {
                let decline = match told {
                    Some(PaymentOutcome::Failed { code, reason }) => format!("{code}: {reason}"),
                    Some(PaymentOutcome::Paid { .. }) | None => "it did not come in time".to_owned(),
                };
                let code = match told {
                    Some(_) => ErrorCode::PaymentDeclined,
                    None => ErrorCode::TransactionTimeLimit,
                };
                note_failure(&self.s, cx, row, owed, &decline).await?;
                Err(ServiceError::new(code, decline).into())
            }
        }
    }
}

/// What the vendor and the requirement's row know the payment by.
fn reference(cx: &StepContext) -> String {
    format!("pcr_{}", cx.step_key())
}

/// The money is there.
async fn received(
    s: &InitiateServices,
    cx: &StepContext,
    row: &Requirement,
    captured: Captured,
) -> Result<Settled, StepError> {
    note_received(s, cx, row, &captured).await?;
    Ok(Settled::Paid { requirement_id: row.requirement_id.clone(), captured })
}

pub(super) async fn note_received(
    s: &InitiateServices,
    cx: &StepContext,
    row: &Requirement,
    captured: &Captured,
) -> Result<(), StepError> {
    let (id, transaction) = (&row.requirement_id, &captured.vendor_transaction_id);
    let noted = s.stores.requirements.succeed(&part(cx, "paid"), id, transaction, cx.now().to_utc()).await;
    noted.map(drop).map_err(StoreError::into_step_error)
}

/// The payment will not be: noted, and the error that turns the checkout back.
async fn fail(s: &InitiateServices, cx: &StepContext, row: &Requirement, owed: Money, decline: &Decline) -> StepError {
    let why = format!("{}: {}", decline.code.as_str(), decline.reason);
    match note_failure(s, cx, row, owed, &why).await {
        Ok(()) => ServiceError::new(decline.code.error_code(), &decline.reason).into(),
        Err(error) => error.with_possible_effect(),
    }
}

/// The requirement has failed, and what was owed before is asked for later.
async fn note_failure(
    s: &InitiateServices,
    cx: &StepContext,
    row: &Requirement,
    owed: Money,
    why: &str,
) -> Result<(), StepError> {
    if row.state == RequirementState::Pending {
        let failed = s.stores.requirements.fail(&part(cx, "failed"), &row.requirement_id, why).await;
        failed.map_err(StoreError::into_step_error)?;
    }
    if owed.minor() > 0 {
        let arrear = NewArrear {
            user_id: row.user_id.clone(),
            requirement_id: row.requirement_id.clone(),
            amount: owed,
            due_at: cx.now().to_utc() + ARREARS_DUE,
        };
        s.stores.arrears.schedule(&part(cx, "arrears"), arrear).await.map_err(StoreError::into_step_error)?;
    }
    Ok(())
}

/// Pays back what was taken, as far as it was not; and notes it.
pub(crate) async fn pay_back(
    s: &InitiateServices,
    cx: &StepContext,
    reference: &str,
    captured: &Captured,
) -> Result<(), StepError> {
    let left = captured.amount.minus(captured.refunded).map_err(|error| StepError::fatal(error.to_string()))?;
    if left.minor() > 0 {
        s.vendor.refund(cx.key().part("refund"), reference, left).await?;
    }
    let row = s.stores.requirements.by_merchant_reference(reference).await.map_err(StoreError::into_step_error)?;
    let Some(row) = row else { return Ok(()) };
    if row.state == RequirementState::Refunded {
        return Ok(());
    }
    note_received(s, cx, &row, captured).await?;
    let refunded = s.stores.requirements.refund(&part(cx, "refunded"), &row.requirement_id).await;
    refunded.map(drop).map_err(StoreError::into_step_error)
}

/// The due date of what is collected later, by the journal's clock.
pub(super) fn later(now: Timestamp, after: std::time::Duration) -> chrono::DateTime<chrono::Utc> {
    now.after(after).to_utc()
}
