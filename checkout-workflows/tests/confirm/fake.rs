//! A gateway in memory, idempotent by key, that fails as it is told.

use std::collections::BTreeMap;
use std::sync::Mutex;

use checkout_workflows::Money;
use checkout_workflows::payment::{Authorization, Capture, Operation, PaymentGateway};
use saga_core::{IdempotencyKey, StepError, async_trait};

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
}

#[derive(Debug, Default)]
struct Books {
    faults: BTreeMap<&'static str, Fault>,
    calls: BTreeMap<&'static str, u32>,
    /// What became of each key: the id, or none when it was refused or closed.
    keys: BTreeMap<IdempotencyKey, Option<String>>,
    /// By authorization id: held and captured.
    holds: BTreeMap<String, (i64, i64)>,
}

#[derive(Debug, Default)]
pub(crate) struct FakeGateway(Mutex<Books>);

impl FakeGateway {
    pub(crate) fn fail(&self, operation: &'static str, fault: Fault) {
        self.0.lock().unwrap().faults.insert(operation, fault);
    }

    pub(crate) fn mend(&self, operation: &'static str) {
        self.0.lock().unwrap().faults.remove(operation);
    }

    pub(crate) fn calls(&self, operation: &'static str) -> u32 {
        self.0.lock().unwrap().calls.get(operation).copied().unwrap_or(0)
    }

    /// Captured and held, over all.
    pub(crate) fn net(&self) -> (i64, i64) {
        let books = self.0.lock().unwrap();
        books.holds.values().fold((0, 0), |sum, hold| (sum.0 + hold.1, sum.1 + hold.0))
    }

    async fn call(
        &self,
        operation: &'static str,
        key: IdempotencyKey,
        apply: impl FnOnce(&mut Books) -> String,
    ) -> Result<String, StepError> {
        let (fault, nth) = {
            let mut books = self.0.lock().unwrap();
            let nth = books.calls.entry(operation).or_default();
            *nth += 1;
            (*nth, books.faults.get(operation).copied())
        };
        let (nth, fault) = (fault, nth);
        match fault {
            Some(Fault::Unavailable) => return Err(StepError::retry("503")),
            Some(Fault::HangOnce) if nth == 1 => std::future::pending().await,
            _ => {}
        }
        let mut books = self.0.lock().unwrap();
        let known = books.keys.get(&key).cloned();
        let answer = match known {
            Some(Some(id)) => Ok(id),
            Some(None) => Err(StepError::rejected("declined")),
            None if fault == Some(Fault::Declined) => {
                books.keys.insert(key, None);
                Err(StepError::rejected("declined"))
            }
            None => {
                let id = apply(&mut books);
                books.keys.insert(key, Some(id.clone()));
                Ok(id)
            }
        };
        if fault == Some(Fault::AppliedAndLost) { Err(StepError::retry("no answer")) } else { answer }
    }
}

#[async_trait]
impl PaymentGateway for FakeGateway {
    async fn authorize(
        &self,
        key: IdempotencyKey,
        amount: Money,
        _payment_method: &str,
        _reference: &str,
    ) -> Result<Authorization, StepError> {
        let id = self.call("authorize", key, |books| {
            let id = format!("auth-{key}");
            books.holds.insert(id.clone(), (amount.minor(), 0));
            id
        });
        id.await.map(|authorization_id| Authorization { authorization_id })
    }

    async fn capture(&self, key: IdempotencyKey, hold: &Authorization, amount: Money) -> Result<Capture, StepError> {
        let id = self.call("capture", key, |books| {
            *books.holds.get_mut(&hold.authorization_id).unwrap() = (0, amount.minor());
            format!("txn-{key}")
        });
        id.await.map(|transaction_id| Capture { transaction_id })
    }

    async fn void(&self, key: IdempotencyKey, authorize_key: IdempotencyKey) -> Result<(), StepError> {
        let done = self.call("void", key, |books| {
            books.keys.entry(authorize_key).or_insert(None);
            books.holds.remove(&format!("auth-{authorize_key}"));
            format!("void-{key}")
        });
        done.await.map(drop)
    }

    async fn refund(&self, key: IdempotencyKey, _: &Capture, _: Money) -> Result<(), StepError> {
        self.call("refund", key, |_| format!("refund-{key}")).await.map(drop)
    }

    async fn look_up(&self, key: IdempotencyKey) -> Result<Operation, StepError> {
        if self.0.lock().unwrap().faults.get("look_up") == Some(&Fault::Unavailable) {
            return Err(StepError::retry("503"));
        }
        Ok(match self.0.lock().unwrap().keys.get(&key) {
            Some(Some(id)) => Operation::Done { id: id.clone() },
            Some(None) => Operation::Declined { reason: "declined".to_owned() },
            None => Operation::Unknown,
        })
    }

    async fn close(&self, key: IdempotencyKey) -> Result<Operation, StepError> {
        self.0.lock().unwrap().keys.entry(key).or_insert(None);
        self.look_up(key).await
    }
}
