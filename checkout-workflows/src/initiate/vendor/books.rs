//! The stand-in's books: what stands, and a ledger that is only added to.

use std::collections::BTreeMap;

use saga_core::{IdempotencyKey, StepError};
use serde::Serialize;

use super::{
    Captured, ClientAction, Decline, DeclineCode, PaymentAnswer, PaymentRequest, Refund, RefundStatus, Standing,
};
use crate::initiate::webhook::{PaymentOutcome, WebhookEvent};
use crate::money::Money;

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The payment.
    pub merchant_reference: String,
    /// What happened.
    pub kind: EntryKind,
    /// With how much money; none where there is none.
    pub amount: Option<Money>,
}

/// What can happen to a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// It was asked for.
    Requested,
    /// It has set up a mandate.
    MandateSetUp,
    /// It was paid.
    Captured,
    /// It was declined.
    Declined,
    /// It was closed.
    Closed,
    /// It was paid back, or a part of it.
    Refunded,
}

/// The ledger, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// What the merchant has of each payment, in minor units: taken less paid back.
    pub net_minor: BTreeMap<String, i64>,
    /// What cannot be: taken twice, taken when closed, more paid back than was taken.
    pub contradictions: Vec<String>,
}

impl Audit {
    pub(super) fn of(ledger: &[Entry]) -> Self {
        let mut audit = Self::default();
        let mut over: BTreeMap<&str, EntryKind> = BTreeMap::new();
        for entry in ledger {
            let reference = entry.merchant_reference.as_str();
            let minor = entry.amount.map_or(0, Money::minor);
            let net = audit.net_minor.entry(reference.to_owned()).or_default();
            match entry.kind {
                EntryKind::Requested | EntryKind::MandateSetUp => {}
                EntryKind::Captured => *net = net.saturating_add(minor),
                EntryKind::Refunded => *net = net.saturating_sub(minor),
                EntryKind::Declined | EntryKind::Closed => {}
            }
            let negative = *net < 0;
            let ends = matches!(entry.kind, EntryKind::Captured | EntryKind::Declined | EntryKind::Closed);
            if ends && let Some(before) = over.insert(reference, entry.kind) {
                audit.contradictions.push(format!("{reference} was {before:?} and then {:?}", entry.kind));
            }
            if negative {
                audit.contradictions.push(format!("more of {reference} was paid back than taken"));
            }
        }
        audit
    }
}

/// What was done under a key, and for what.
#[derive(Clone, Debug)]
struct Done {
    what: String,
    answer: Option<PaymentAnswer>,
    refund: Option<Refund>,
}

/// The stand-in's books.
#[derive(Debug, Default)]
pub(super) struct Books {
    payments: BTreeMap<String, Standing>,
    requests: BTreeMap<String, PaymentRequest>,
    keys: BTreeMap<IdempotencyKey, Done>,
    pub(super) ledger: Vec<Entry>,
    ids: u64,
}

impl Books {
    fn id(&mut self, prefix: &str) -> String {
        self.ids += 1;
        format!("{prefix}_{}", self.ids)
    }

    fn enter(&mut self, merchant_reference: &str, kind: EntryKind, amount: Option<Money>) {
        let merchant_reference = merchant_reference.to_owned();
        self.ledger.push(Entry { merchant_reference, kind, amount });
    }

    /// Whether the key is known. A known key with another request is a defect of the caller.
    fn seen(&self, key: IdempotencyKey, what: &str) -> Result<Option<&Done>, StepError> {
        match self.keys.get(&key) {
            Some(done) if done.what != what => {
                Err(StepError::rejected("IDEMPOTENCY_CONFLICT: the key was used for another request"))
            }
            done => Ok(done),
        }
    }

    pub(super) fn standing(&self, merchant_reference: &str) -> Standing {
        self.payments.get(merchant_reference).cloned().unwrap_or(Standing::Unknown)
    }

    /// Takes a request in; it is pending then. False when it was there already.
    pub(super) fn request(&mut self, key: IdempotencyKey, request: &PaymentRequest) -> Result<bool, StepError> {
        let reference = &request.merchant_reference;
        let what = format!("create {reference} {}", request.amount);
        if self.seen(key, &what)?.is_some() {
            return Ok(false);
        }
        let least = i64::from(!request.sets_up_mandate);
        if request.amount.minor() < least {
            return Err(StepError::rejected("PAYMENT_VALIDATION_ERROR_TYPE: a payment is more than nothing"));
        }
        let closed =
            matches!(&self.standing(reference), Standing::Declined(decline) if decline.code == DeclineCode::Cancelled);
        if !closed && self.payments.contains_key(reference) {
            return Err(StepError::rejected("IDEMPOTENCY_CONFLICT: the reference was used under another key"));
        }
        self.keys.insert(key, Done { what, answer: None, refund: None });
        if closed {
            return Ok(false);
        }
        let action = ClientAction {
            vendor_code: "local".to_owned(),
            vendor_transaction_id: self.id("txn"),
            client_auth_token: self.id("token"),
            redirect_url: None,
        };
        self.enter(reference, EntryKind::Requested, Some(request.amount));
        self.requests.insert(reference.clone(), request.clone());
        self.payments.insert(reference.clone(), Standing::Pending(action));
        Ok(true)
    }

    /// What is answered under this key: the first time how the payment stands, and ever after the same.
    pub(super) fn answer(&mut self, key: IdempotencyKey, merchant_reference: &str) -> Result<PaymentAnswer, StepError> {
        let lost = || StepError::fatal("INTERNAL: the vendor has lost a request");
        let standing = self.standing(merchant_reference);
        let done = self.keys.get_mut(&key).ok_or_else(lost)?;
        if let Some(answer) = &done.answer {
            return Ok(answer.clone());
        }
        let answer = match standing {
            Standing::Pending(action) => PaymentAnswer::RequiresClientAction(action),
            Standing::Captured(captured) => PaymentAnswer::Succeeded(captured),
            Standing::Declined(decline) => PaymentAnswer::Declined(decline),
            Standing::Unknown => return Err(lost()),
        };
        Ok(done.answer.insert(answer).clone())
    }

    /// The customer pays; none when the payment is not pending.
    pub(super) fn capture(&mut self, merchant_reference: &str) -> Option<WebhookEvent> {
        let Standing::Pending(action) = self.standing(merchant_reference) else { return None };
        let PaymentRequest { amount, sets_up_mandate, .. } = *self.requests.get(merchant_reference)?;
        let vendor_transaction_id = action.vendor_transaction_id;
        let refunded = Money::zero(amount.currency());
        let mandate_id = sets_up_mandate.then(|| self.id("mandate"));
        if mandate_id.is_some() {
            self.enter(merchant_reference, EntryKind::MandateSetUp, None);
        }
        let captured = Captured { vendor_transaction_id: vendor_transaction_id.clone(), amount, refunded, mandate_id };
        self.payments.insert(merchant_reference.to_owned(), Standing::Captured(captured));
        self.enter(merchant_reference, EntryKind::Captured, Some(amount));
        let outcome = PaymentOutcome::Paid { vendor_transaction_id, amount };
        Some(self.event(merchant_reference, outcome))
    }

    /// The payment fails for good; none when it is not pending.
    pub(super) fn decline(&mut self, merchant_reference: &str, code: DeclineCode) -> Option<WebhookEvent> {
        let Standing::Pending(_) = self.standing(merchant_reference) else { return None };
        let reason = match code {
            DeclineCode::PaymentDeclined => "the bank has declined",
            DeclineCode::InsufficientFunds => "there is not enough money",
            DeclineCode::Cancelled => "the merchant has cancelled",
        };
        let decline = Decline { code, reason: reason.to_owned() };
        self.payments.insert(merchant_reference.to_owned(), Standing::Declined(decline));
        self.enter(merchant_reference, EntryKind::Declined, None);
        let outcome = PaymentOutcome::Failed { code: code.as_str().to_owned(), reason: reason.to_owned() };
        Some(self.event(merchant_reference, outcome))
    }

    /// Closes a payment that is not captured, seen or not.
    pub(super) fn close(
        &mut self,
        key: IdempotencyKey,
        merchant_reference: &str,
    ) -> Result<Option<Captured>, StepError> {
        let what = format!("cancel {merchant_reference}");
        self.seen(key, &what)?;
        let reason = "the merchant has cancelled".to_owned();
        let closed = Standing::Declined(Decline { code: DeclineCode::Cancelled, reason });
        match self.standing(merchant_reference) {
            Standing::Captured(captured) => return Ok(Some(captured)),
            Standing::Unknown | Standing::Pending(_) => {
                self.payments.insert(merchant_reference.to_owned(), closed);
                self.enter(merchant_reference, EntryKind::Closed, None);
            }
            Standing::Declined(_) => {}
        }
        self.keys.insert(key, Done { what, answer: None, refund: None });
        Ok(None)
    }

    /// Pays back.
    pub(super) fn refund(
        &mut self,
        key: IdempotencyKey,
        merchant_reference: &str,
        amount: Money,
    ) -> Result<Refund, StepError> {
        let what = format!("refund {merchant_reference} {amount}");
        if let Some(Done { refund: Some(refund), .. }) = self.seen(key, &what)? {
            return Ok(refund.clone());
        }
        let Standing::Captured(mut captured) = self.standing(merchant_reference) else {
            return Err(StepError::rejected("STATE_CONFLICT: nothing was taken that could be paid back"));
        };
        let fits = |sum: &Money| sum.minor() <= captured.amount.minor() && amount.minor() > 0;
        let Some(refunded) = captured.refunded.plus(amount).ok().filter(fits) else {
            return Err(StepError::rejected("STATE_CONFLICT: there is not so much left to pay back"));
        };
        captured.refunded = refunded;
        self.payments.insert(merchant_reference.to_owned(), Standing::Captured(captured));
        self.enter(merchant_reference, EntryKind::Refunded, Some(amount));
        let refund = Refund { refund_id: self.id("refund"), status: RefundStatus::Succeeded };
        self.keys.insert(key, Done { what, answer: None, refund: Some(refund.clone()) });
        Ok(refund)
    }

    fn event(&mut self, merchant_reference: &str, outcome: PaymentOutcome) -> WebhookEvent {
        WebhookEvent { event_id: self.id("evt"), requirement_id: merchant_reference.to_owned(), outcome }
    }
}
