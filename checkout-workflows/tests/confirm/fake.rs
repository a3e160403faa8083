//! A gateway in memory, idempotent by key, that fails as it is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use checkout_workflows::Money;
use checkout_workflows::payment::{
    Authorization, Capture, KeyRules, Operation, Payment, PaymentGateway, PaymentState, PaymentStatus,
};
use saga_core::{IdempotencyKey, StepError, Timestamp, async_trait};

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Refused, for good.
    Declined,
    /// 503, every time; nothing happens.
    Unavailable,
    /// It happens, and the answer is lost, every time.
    AppliedAndLost,
    /// The first call hangs before anything happens.
    HangOnce,
    /// No answer, and it happens this much later.
    Late(Duration),
}

#[derive(Debug, Default)]
pub(crate) struct Books {
    faults: BTreeMap<&'static str, Fault>,
    calls: BTreeMap<&'static str, u32>,
    /// What became of each key: the id, or none when it was refused or closed.
    keys: BTreeMap<IdempotencyKey, Option<String>>,
    /// By authorization id.
    payments: BTreeMap<String, PaymentState>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct FakeGateway {
    pub(crate) books: Arc<Mutex<Books>>,
    pub(crate) rules: KeyRules,
    pub(crate) capture_before: Option<Timestamp>,
    /// What a void finds: the hold was captured a moment before.
    pub(crate) captured_behind_our_back: bool,
}

impl FakeGateway {
    pub(crate) fn fail(&self, operation: &'static str, fault: Fault) {
        self.books.lock().unwrap().faults.insert(operation, fault);
    }

    pub(crate) fn mend(&self, operation: &'static str) {
        self.books.lock().unwrap().faults.remove(operation);
    }

    pub(crate) fn calls(&self, operation: &'static str) -> u32 {
        self.books.lock().unwrap().calls.get(operation).copied().unwrap_or(0)
    }

    /// Captured and held, over all.
    pub(crate) fn net(&self) -> (i64, i64) {
        let books = self.books.lock().unwrap();
        books.payments.values().fold((0, 0), |sum, payment| {
            let held = if payment.status() == PaymentStatus::Authorized { payment.authorized } else { 0 };
            (sum.0 + payment.net(), sum.1 + held)
        })
    }

    /// All payments, by authorization id.
    pub(crate) fn payments(&self) -> Vec<(String, PaymentState)> {
        self.books.lock().unwrap().payments.iter().map(|(id, state)| (id.clone(), *state)).collect()
    }

    async fn call(
        &self,
        operation: &'static str,
        key: IdempotencyKey,
        apply: impl FnOnce(&mut Books) -> Result<String, StepError> + Send + 'static,
    ) -> Result<String, StepError> {
        let (nth, fault) = {
            let mut books = self.books.lock().unwrap();
            let nth = books.calls.entry(operation).or_default();
            *nth += 1;
            (*nth, books.faults.get(operation).copied())
        };
        match fault {
            Some(Fault::Unavailable) => return Err(StepError::retry("503")),
            Some(Fault::HangOnce) if nth == 1 => std::future::pending().await,
            Some(Fault::Late(after)) => {
                let books = self.books.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    Self::apply_once(&mut books.lock().unwrap(), key, None, apply).ok();
                });
                return Err(StepError::retry("no answer"));
            }
            _ => {}
        }
        let answer = Self::apply_once(&mut self.books.lock().unwrap(), key, fault, apply);
        if fault == Some(Fault::AppliedAndLost) { Err(StepError::retry("no answer")) } else { answer }
    }

    fn apply_once(
        books: &mut Books,
        key: IdempotencyKey,
        fault: Option<Fault>,
        apply: impl FnOnce(&mut Books) -> Result<String, StepError>,
    ) -> Result<String, StepError> {
        match books.keys.get(&key).cloned() {
            Some(Some(id)) => return Ok(id),
            Some(None) => return Err(StepError::rejected("declined")),
            None => {}
        }
        let answer = if fault == Some(Fault::Declined) { Err(StepError::rejected("declined")) } else { apply(books) };
        books.keys.insert(key, answer.as_ref().ok().cloned());
        answer
    }
}

#[async_trait]
impl PaymentGateway for FakeGateway {
    fn key_rules(&self) -> KeyRules {
        self.rules
    }

    async fn authorize(
        &self,
        key: IdempotencyKey,
        amount: Money,
        _payment_method: &str,
        _reference: &str,
    ) -> Result<Authorization, StepError> {
        let id = self.call("authorize", key, move |books| {
            let id = format!("auth-{key}");
            books.payments.insert(id.clone(), PaymentState::authorized(amount.minor()));
            Ok(id)
        });
        let capture_before = self.capture_before;
        id.await.map(|authorization_id| Authorization { authorization_id, capture_before })
    }

    async fn capture(&self, key: IdempotencyKey, hold: &Authorization, amount: Money) -> Result<Capture, StepError> {
        let id = hold.authorization_id.clone();
        let id = self.call("capture", key, move |books| {
            books.payments.get_mut(&id).unwrap().captured = amount.minor();
            Ok(format!("txn-{key}"))
        });
        id.await.map(|transaction_id| Capture { transaction_id })
    }

    async fn void(&self, key: IdempotencyKey, authorization_id: &str) -> Result<(), StepError> {
        let (id, captured) = (authorization_id.to_owned(), self.captured_behind_our_back);
        let done = self.call("void", key, move |books| {
            let payment = books.payments.get_mut(&id).unwrap();
            if captured {
                payment.captured = payment.authorized;
            }
            if payment.status() != PaymentStatus::Authorized {
                return Err(StepError::rejected("captured: that takes a refund"));
            }
            payment.voided = true;
            Ok(format!("void-{key}"))
        });
        done.await.map(drop)
    }

    async fn refund(&self, key: IdempotencyKey, transaction_id: &str, amount: Money) -> Result<(), StepError> {
        let id = transaction_id.replace("txn-of-", "");
        let done = self.call("refund", key, move |books| {
            let payment = books.payments.get_mut(&id).unwrap();
            if payment.net() < amount.minor() {
                return Err(StepError::rejected("there is nothing to pay back"));
            }
            payment.refunded += amount.minor();
            Ok(format!("refund-{key}"))
        });
        done.await.map(drop)
    }

    async fn look_up(&self, key: IdempotencyKey) -> Result<Operation, StepError> {
        let books = self.books.lock().unwrap();
        if books.faults.get("look_up") == Some(&Fault::Unavailable) {
            return Err(StepError::retry("503"));
        }
        Ok(match books.keys.get(&key) {
            Some(Some(id)) => Operation::Done { id: id.clone(), capture_before: self.capture_before },
            Some(None) => Operation::Declined { reason: "declined".to_owned() },
            None => Operation::Unknown,
        })
    }

    async fn payment(&self, authorize_key: IdempotencyKey) -> Result<Option<Payment>, StepError> {
        let id = format!("auth-{authorize_key}");
        let state = self.books.lock().unwrap().payments.get(&id).copied();
        Ok(state.map(|state| Payment {
            transaction_id: (state.captured > 0).then(|| format!("txn-of-{id}")),
            authorization_id: id,
            state,
        }))
    }

    async fn close(&self, key: IdempotencyKey) -> Result<Operation, StepError> {
        let known = self.look_up(key).await?;
        if self.rules.closes_keys {
            self.books.lock().unwrap().keys.entry(key).or_insert(None);
        }
        Ok(known)
    }
}
