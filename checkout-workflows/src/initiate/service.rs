//! The flow as a host's handlers call it: initiate, look, and take in what the vendor says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use saga_core::engine::{EngineBuilder, OperatorError, OutcomeError, Resolution, SignalError, Signalled, StartError};
use saga_core::journal::{JournalError, SagaStatus};
use saga_core::machine::{Record, Refused};
use saga_core::{
    BuildError, Checkpoint as _, CheckpointError, Definition, Digest, Engine, SagaHandle, SagaId, SagaOutcome,
    Timestamp,
};

use super::checkout::{ANSWER, GROUPS, InitiateServices, Initiation, NAME, PAYMENT_SIGNAL, initiate_checkout};
use super::classify::{ErrorCode, ServiceError};
use super::facts::look_up;
use super::flags::{Audience, Flags};
use super::kept::Kept;
use super::line_items_confirmed::{Confirmed, Delivered, line_items_confirmed};
use super::pii::PiiError;
use super::progress::steps;
use super::role::{Action, Forbidden, Principal};
use super::schema::{
    Call, ExecutionContext, ExecutionContextStatus, InitiateCheckoutAccepted, InitiateCheckoutRequest,
    InitiateCheckoutResponse, ReferenceId, TaskName,
};
use super::sealed_request::{open_request, seal_request};
use super::store::{PaymentGroup, StoreError};
use super::validate::{Violations, validate};
use super::webhook::{WebhookError, WebhookSecrets};
use crate::money::Currency;

/// How often a saga that runs is asked for its answer.
const POLL: Duration = Duration::from_millis(15);
/// Whom the journal names when a client asks again for a checkout that waits for a human.
const RESUMED: &str = "the client asked again";

/// Which definition a host runs, and with what. Register it before the engine is opened, and make the
/// service of the opened engine.
#[derive(Clone, Debug)]
pub struct InitiateFlow {
    services: InitiateServices,
    definition: Definition<Initiation, InitiateCheckoutResponse>,
    pub(super) confirmed: Definition<Delivered, Confirmed>,
}

impl InitiateFlow {
    /// The flow with these services.
    ///
    /// # Errors
    /// Never, unless the definition breaks a rule of sagas.
    pub fn new(services: InitiateServices) -> Result<Self, BuildError> {
        let (definition, confirmed) = (initiate_checkout(&services)?, line_items_confirmed(&services)?);
        Ok(Self { services, definition, confirmed })
    }

    /// The definition, for example to draw it, or to give it a codec.
    #[must_use]
    pub fn definition(&self) -> &Definition<Initiation, InitiateCheckoutResponse> {
        &self.definition
    }

    /// What sees to the event `line_items_confirmed`, for asking the engine about its sagas.
    #[must_use]
    pub fn confirmed(&self) -> &Definition<Delivered, Confirmed> {
        &self.confirmed
    }

    /// Registers the definition, what sees to late payments and to consumed events, and the breakers of the
    /// services.
    #[must_use]
    pub fn register(&self, engine: EngineBuilder) -> EngineBuilder {
        self.services.policies.apply(engine.register(&self.definition).register(&self.confirmed))
    }
}

/// What goes with a call beside its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallHeaders {
    /// Whose marketplace it is.
    pub tenant: String,
    /// The client's id of its request.
    pub request_id: String,
}

/// What a call is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Initiated {
    /// The checkout as far as it has come.
    Answered(Box<InitiateCheckoutResponse>),
    /// It goes on in the background: ask for its execution context.
    Accepted(InitiateCheckoutAccepted),
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitiateError {
    /// The caller may not do that.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The request breaks rules: all of them are here.
    #[error("the request is not valid")]
    Invalid(#[source] Violations),
    /// The execution context was used for another request.
    #[error("the execution context {execution_context_id} belongs to a request that differs in {}", differs.join(", "))]
    Conflict {
        /// The id.
        execution_context_id: String,
        /// In which fields.
        differs: Vec<String>,
    },
    /// There is no such execution context.
    #[error("there is no execution context {execution_context_id}")]
    NotFound {
        /// The id.
        execution_context_id: String,
    },
    /// The checkout was completed, and its answer is not kept any more.
    #[error("the checkout {execution_context_id} was completed, and its answer is not kept any more")]
    Gone {
        /// The id.
        execution_context_id: String,
    },
    /// The checkout cannot be turned back.
    #[error("the checkout {execution_context_id} cannot be turned back: {source}")]
    TooLate {
        /// The id.
        execution_context_id: String,
        /// Why not.
        source: Refused,
    },
    /// The checkout was rolled back.
    #[error("{error}")]
    RolledBack {
        /// The id.
        execution_context_id: String,
        /// Why.
        error: RolledBack,
    },
    /// The webhook is not to be taken.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// Nobody has said what events are proven with.
    #[error("this host takes no events: see InitiateService::consumes_events")]
    NotConsuming,
    /// The webhook names a payment that nobody asked for.
    #[error("nobody asked for the payment {requirement_id}")]
    UnknownPayment {
        /// What it is called there.
        requirement_id: String,
    },
    /// The tables or the journal cannot be reached: try again, under the same execution context id.
    #[error("the checkout is not available at present")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Something that should be is not.
    #[error("the checkout failed")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why a checkout was rolled back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RolledBack {
    /// The stable code.
    pub code: ErrorCode,
    /// What went wrong, for people.
    pub message: String,
}

pub(super) fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> InitiateError {
    InitiateError::Internal(error.into())
}

pub(super) fn unavailable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> InitiateError {
    InitiateError::Unavailable(error.into())
}

impl From<StoreError> for InitiateError {
    fn from(error: StoreError) -> Self {
        unavailable(error)
    }
}

impl From<JournalError> for InitiateError {
    fn from(error: JournalError) -> Self {
        unavailable(error)
    }
}

impl From<OutcomeError> for InitiateError {
    fn from(error: OutcomeError) -> Self {
        match error {
            OutcomeError::Journal { .. } => unavailable(error),
            other => internal(other),
        }
    }
}

impl From<OperatorError> for InitiateError {
    fn from(error: OperatorError) -> Self {
        unavailable(error)
    }
}

impl From<SignalError> for InitiateError {
    fn from(error: SignalError) -> Self {
        unavailable(error)
    }
}

impl From<PiiError> for InitiateError {
    fn from(error: PiiError) -> Self {
        internal(error)
    }
}

impl From<CheckpointError> for InitiateError {
    fn from(error: CheckpointError) -> Self {
        internal(error)
    }
}

/// The flow, on an engine that runs it.
#[derive(Clone)]
pub struct InitiateService {
    pub(super) flow: InitiateFlow,
    pub(super) engine: Engine,
    flags: Arc<dyn Flags>,
    secrets: WebhookSecrets,
    pub(super) event_secrets: Option<WebhookSecrets>,
    currencies: Arc<dyn Fn(&str) -> Currency + Send + Sync>,
    answer_within: Duration,
}

impl std::fmt::Debug for InitiateService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InitiateService").field("flow", &self.flow).finish_non_exhaustive()
    }
}

impl InitiateService {
    /// The service on an engine where the flow is registered. Cities pay in rupees, and clients wait ten
    /// seconds for an answer, unless told otherwise.
    pub fn new(flow: InitiateFlow, engine: Engine, flags: impl Flags + 'static, secrets: WebhookSecrets) -> Self {
        let currencies = Arc::new(|_: &str| Currency::INR);
        let answer_within = Duration::from_secs(10);
        Self { flow, engine, flags: Arc::new(flags), secrets, event_secrets: None, currencies, answer_within }
    }

    /// In which currency a city pays, by its key.
    #[must_use]
    pub fn currencies(mut self, of: impl Fn(&str) -> Currency + Send + Sync + 'static) -> Self {
        self.currencies = Arc::new(of);
        self
    }

    /// How long a client waits for the answer before it is told to come back.
    #[must_use]
    pub fn answer_within(mut self, limit: Duration) -> Self {
        self.answer_within = limit;
        self
    }

    /// The definition, for asking the engine about its sagas.
    #[must_use]
    pub fn definition(&self) -> &Definition<Initiation, InitiateCheckoutResponse> {
        self.flow.definition()
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Begins a checkout, or answers again what was answered: the same execution context id is the same
    /// checkout. One that waits for a human is tried again.
    ///
    /// # Errors
    /// See [`InitiateError`].
    pub async fn initiate(
        &self,
        caller: &Principal,
        call: Call,
        headers: CallHeaders,
    ) -> Result<Initiated, InitiateError> {
        match call {
            Call::Initiate(request) => {
                caller.may_initiate(&request)?;
                let id = request.execution_context_id.clone();
                let id = id.unwrap_or_else(|| format!("ctx_{}", SagaId::new()));
                let known = self.engine.find(&self.flow.definition, &id).await?;
                let saga = match known {
                    Some(saga) => self.same(&id, &saga, &request).await.map(|()| saga)?,
                    None => match self.forgotten(&id).await? {
                        Some(kept) => return kept.answer(&request).map(Box::new).map(Initiated::Answered),
                        None => self.start(&id, *request, headers).await?,
                    },
                };
                self.resume(caller, &saga).await?;
                self.answer(&id, &saga).await
            }
            Call::Resume { execution_context_id: id } => {
                if let Some(kept) = self.forgotten(&id).await? {
                    return kept.resume(caller).map(Box::new).map(Initiated::Answered);
                }
                let saga = self.saga(&id).await?;
                let owner = self.initiation(&saga).await?.request.user_id;
                caller.may(Action::Resume, &owner)?;
                let own = caller.user_id == owner;
                self.resume(caller, &saga).await?;
                Ok(match self.answer(&id, &saga).await? {
                    Initiated::Answered(response) if !own => {
                        Initiated::Answered(Box::new(response.without_client_secret()))
                    }
                    answered => answered,
                })
            }
        }
    }

    /// What is kept of a checkout whose saga is gone: the journal's retention is over.
    async fn forgotten(&self, id: &str) -> Result<Option<Kept>, InitiateError> {
        if self.engine.find(&self.flow.definition, id).await?.is_some() {
            return Ok(None);
        }
        let Some(kept) = Kept::find(&self.flow.services, id).await? else { return Ok(None) };
        // Somebody may have begun it in this very moment.
        let begun = self.engine.find(&self.flow.definition, id).await?.is_some();
        Ok((!begun).then_some(kept))
    }

    async fn saga(&self, id: &str) -> Result<SagaHandle<InitiateCheckoutResponse>, InitiateError> {
        let found = self.engine.find(&self.flow.definition, id).await?;
        found.ok_or_else(|| InitiateError::NotFound { execution_context_id: id.to_owned() })
    }

    async fn start(
        &self,
        id: &str,
        mut request: InitiateCheckoutRequest,
        headers: CallHeaders,
    ) -> Result<SagaHandle<InitiateCheckoutResponse>, InitiateError> {
        let currency = (self.currencies)(&request.dimensions.city.key);
        let now = Timestamp::from_micros(chrono::Utc::now().timestamp_micros());
        let facts = look_up(&self.flow.services.stores, &request, currency, now).await?;
        validate(&request, &facts).map_err(InitiateError::Invalid)?;
        let (plain, digest) = (request.clone(), digest(&request)?);
        let flags = self.flags.resolve(&Audience::of(&request));
        seal_request(&mut request, id, &self.flow.services.pii, flags)?;
        let begin = Initiation {
            execution_context_id: id.to_owned(),
            request,
            request_digest: digest,
            flags,
            currency,
            tenant: headers.tenant,
            request_id: headers.request_id,
        };
        match self.engine.start(&self.flow.definition, id, begin).await {
            Ok(saga) => Ok(saga),
            // Somebody was first, a moment ago: the same request, or another one.
            Err(StartError::KeyConflict { .. }) => {
                let saga = self.saga(id).await?;
                self.same(id, &saga, &plain).await.map(|()| saga)
            }
            Err(error @ (StartError::Unavailable { .. } | StartError::Journal { .. } | StartError::Closed)) => {
                Err(unavailable(error))
            }
            Err(error) => Err(internal(error)),
        }
    }

    /// What the saga was started with.
    async fn initiation(&self, saga: &SagaHandle<InitiateCheckoutResponse>) -> Result<Initiation, InitiateError> {
        let history = self.engine.history(saga.id()).await?.unwrap_or_default();
        let started = history.first().and_then(|turn| turn.records.first());
        match started {
            Some(Record::Started { input, .. }) => Ok(Initiation::decode(input)?),
            _ => Err(internal("the checkout has no beginning")),
        }
    }

    /// One execution context is one request.
    async fn same(
        &self,
        id: &str,
        saga: &SagaHandle<InitiateCheckoutResponse>,
        request: &InitiateCheckoutRequest,
    ) -> Result<(), InitiateError> {
        let begin = self.initiation(saga).await?;
        if begin.request_digest == digest(request)? {
            return Ok(());
        }
        let mut before = begin.request;
        open_request(&mut before, id, &self.flow.services.pii)?;
        let differs = differences(&before, request)?;
        Err(InitiateError::Conflict { execution_context_id: id.to_owned(), differs })
    }

    /// A checkout that waits for a human is tried once more, in the caller's name.
    async fn resume(
        &self,
        caller: &Principal,
        saga: &SagaHandle<InitiateCheckoutResponse>,
    ) -> Result<(), InitiateError> {
        if let Some(SagaOutcome::NeedsAttention(letters)) = saga.outcome_now().await? {
            for step in letters.iter().filter_map(|letter| letter.step.as_ref()) {
                let tried = self.engine.operator();
                let tried = tried.resolve(saga.id(), step.as_str(), Resolution::Retry, &caller.user_id, RESUMED).await;
                match tried {
                    // Somebody else has decided, or a worker is at it.
                    Ok(()) | Err(OperatorError::Refused { .. } | OperatorError::Busy { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Waits for the answer, as long as a client does.
    async fn answer(&self, id: &str, saga: &SagaHandle<InitiateCheckoutResponse>) -> Result<Initiated, InitiateError> {
        let until = tokio::time::Instant::now() + self.answer_within;
        let accepted =
            |status| Ok(Initiated::Accepted(InitiateCheckoutAccepted { execution_context_id: id.to_owned(), status }));
        loop {
            match saga.outcome_now().await? {
                Some(SagaOutcome::Completed(response)) => return Ok(Initiated::Answered(Box::new(response))),
                Some(SagaOutcome::RolledBack(failure)) => {
                    let code = ErrorCode::of_fault(&failure.fault);
                    let error = RolledBack { code, message: failure.to_string() };
                    return Err(InitiateError::RolledBack { execution_context_id: id.to_owned(), error });
                }
                Some(SagaOutcome::NeedsAttention(_)) => return accepted(ExecutionContextStatus::Initialized),
                None => {}
            }
            if let Some(response) = saga.output_of::<InitiateCheckoutResponse>(ANSWER).await? {
                return Ok(Initiated::Answered(Box::new(response)));
            }
            if tokio::time::Instant::now() >= until {
                return accepted(ExecutionContextStatus::Initialized);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// An execution context, with the history of its steps. What the client proves itself with at the vendor is
    /// for the checkout's owner alone.
    ///
    /// # Errors
    /// See [`InitiateError`].
    pub async fn execution_context(&self, caller: &Principal, id: &str) -> Result<ExecutionContext, InitiateError> {
        if let Some(kept) = self.forgotten(id).await? {
            return kept.context(caller);
        }
        let saga = self.saga(id).await?;
        let begin = self.initiation(&saga).await?;
        caller.may(Action::Read, &begin.request.user_id)?;
        let own = caller.user_id == begin.request.user_id;
        let mut request = begin.request;
        open_request(&mut request, id, &self.flow.services.pii)?;
        let history = self.engine.history(saga.id()).await?.unwrap_or_default();
        let status = match self.engine.status(saga.id()).await?.map(|summary| summary.status) {
            Some(SagaStatus::Ended(saga_core::journal::End::Completed)) => ExecutionContextStatus::Completed,
            Some(SagaStatus::Ended(saga_core::journal::End::RolledBack) | SagaStatus::Watching) => {
                ExecutionContextStatus::RolledBack
            }
            _ => ExecutionContextStatus::Initialized,
        };
        let (contexts, retry_timestamps) = steps(self.definition().plan(), &history);
        let response: Option<InitiateCheckoutResponse> = saga.output_of(ANSWER).await?;
        let groups: Vec<PaymentGroup> = saga.output_of(GROUPS).await?.unwrap_or_default();
        Ok(ExecutionContext {
            execution_context_id: id.to_owned(),
            task_name: TaskName::InitiateCheckout,
            reference_ids: groups.into_iter().map(|group| ReferenceId { id: group.payment_group_id }).collect(),
            request_params: Box::new(request),
            response: if own { response } else { response.map(InitiateCheckoutResponse::without_client_secret) },
            contexts,
            status,
            retry_timestamps,
        })
    }

    /// Gives a checkout up before it is paid: it turns back as soon as that is safe. Look at its execution
    /// context to learn when.
    ///
    /// # Errors
    /// [`InitiateError::TooLate`] when it is paid already, or turns back; see [`InitiateError`].
    pub async fn cancel(&self, caller: &Principal, id: &str, reason: &str) -> Result<(), InitiateError> {
        self.turn_back(caller, Action::Cancel, id, reason).await
    }

    /// As [`InitiateService::cancel`], for those who look after other people's checkouts.
    ///
    /// # Errors
    /// As there.
    pub async fn roll_back(&self, caller: &Principal, id: &str, reason: &str) -> Result<(), InitiateError> {
        self.turn_back(caller, Action::RollBack, id, reason).await
    }

    async fn turn_back(&self, caller: &Principal, action: Action, id: &str, why: &str) -> Result<(), InitiateError> {
        let saga = self.saga(id).await?;
        caller.may(action, &self.initiation(&saga).await?.request.user_id)?;
        match self.engine.operator().cancel(saga.id(), &caller.user_id, why).await {
            Ok(()) => Ok(()),
            Err(OperatorError::Refused { source, .. }) => {
                Err(InitiateError::TooLate { execution_context_id: id.to_owned(), source })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Takes in what the vendor says about a payment, once for each of its event ids. A payment that comes
    /// too late is seen to by a saga of its own.
    ///
    /// # Errors
    /// See [`InitiateError`]; the vendor sends it again.
    pub async fn payment_webhook(&self, raw: &[u8], signature: &str) -> Result<Signalled, InitiateError> {
        let now = Timestamp::from_micros(chrono::Utc::now().timestamp_micros());
        let event = self.secrets.open(signature, raw, now)?;
        let requirements = &self.flow.services.stores.requirements;
        let known = requirements.by_merchant_reference(&event.requirement_id).await?;
        let known = known.ok_or(InitiateError::UnknownPayment { requirement_id: event.requirement_id })?;
        let id = &known.execution_context_id;
        Ok(self.engine.signal(NAME, id, PAYMENT_SIGNAL, &event.outcome, &event.event_id).await?)
    }

    /// Whether the tables and the journal answer.
    ///
    /// # Errors
    /// [`InitiateError::Unavailable`] when they do not.
    pub async fn ready(&self) -> Result<(), InitiateError> {
        self.flow.services.stores.execution_contexts.get("none").await?;
        self.engine.find(&self.flow.definition, "none").await?;
        Ok(())
    }
}

pub(super) fn digest(request: &InitiateCheckoutRequest) -> Result<String, InitiateError> {
    // The id is what the request is found by, and may be left out the first time.
    let request = InitiateCheckoutRequest { execution_context_id: None, ..request.clone() };
    Ok(Digest::of_text(&serde_json::to_string(&request).map_err(internal)?).to_string())
}

/// In which top-level fields two requests differ.
pub(super) fn differences(
    one: &InitiateCheckoutRequest,
    other: &InitiateCheckoutRequest,
) -> Result<Vec<String>, InitiateError> {
    type Fields = BTreeMap<String, serde_json::Value>;
    let fields = |request: &InitiateCheckoutRequest| -> Result<Fields, InitiateError> {
        let text = serde_json::to_string(request).map_err(internal)?;
        serde_json::from_str(&text).map_err(internal)
    };
    let (one, other) = (fields(one)?, fields(other)?);
    let names = one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)));
    let differ = names.filter(|name| *name != "executionContextId" && one.get(*name) != other.get(*name));
    Ok(differ.cloned().collect())
}

impl From<ServiceError> for InitiateError {
    fn from(error: ServiceError) -> Self {
        internal(error.to_string())
    }
}
