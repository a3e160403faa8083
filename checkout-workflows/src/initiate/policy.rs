//! How often, how patiently and behind which breaker each service is asked.
//!
//! | service | attempts | backoff | breaker |
//! |---|---|---|---|
//! | payment group | 3 | exponential | yes |
//! | invoice | 3 | linear | yes |
//! | line items | 3 | exponential | yes |
//! | payment collection requirement | 3 | exponential | yes |
//! | events | 2 | linear | no |
//! | every other one | 3 | exponential | yes |
//!
//! Configuration names what differs, and nothing else:
//!
//! ```
//! use checkout_workflows::initiate::policy::{Policies, Service};
//!
//! let policies: Policies = serde_json::from_str(r#"{"invoice": {"attempts": 5}, "events": {"breaker": true}}"#)?;
//! assert_eq!(policies.of(Service::Invoice).retry().attempts_max(), Some(5));
//! assert!(policies.of(Service::Events).dependency().breaker.is_some());
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::time::Duration;

use saga_core::engine::{BreakerPolicy, DependencyPolicy, EngineBuilder};
use saga_core::{Backoff, RetryPolicy};
use serde::{Deserialize, Serialize, Serializer};

/// The services that the flow asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// Creates payment groups.
    PaymentGroup,
    /// Prices line items and makes the invoice.
    Invoice,
    /// Writes line items.
    LineItems,
    /// Creates payment collection requirements.
    PaymentRequirement,
    /// Publishes events.
    Events,
    /// Any other: preferences, checkout orders, opt-ins, repeat programs.
    Other,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::PaymentGroup, Self::Invoice, Self::LineItems, Self::PaymentRequirement, Self::Events, Self::Other];

    /// The name of the dependency, for definitions and for configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PaymentGroup => "payment_group",
            Self::Invoice => "invoice",
            Self::LineItems => "line_items",
            Self::PaymentRequirement => "payment_requirement",
            Self::Events => "events",
            Self::Other => "other",
        }
    }
}

/// How one service is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ServicePolicy {
    /// The number of attempts, the first one included; zero counts as one.
    pub attempts: u32,
    /// How the delay between them grows.
    pub backoff: Backoff,
    /// The first delay, in milliseconds. Default 200: a lock or a restart is over by then.
    pub base_ms: u64,
    /// The longest delay, in milliseconds. Default 5,000: a customer is waiting.
    pub cap_ms: u64,
    /// How long one attempt may take, in milliseconds. Default 10,000.
    pub timeout_ms: u64,
    /// When it is left alone after failures; none, in configuration `false`, for never.
    #[serde(serialize_with = "or_false")]
    pub breaker: Option<BreakerPolicy>,
}

impl ServicePolicy {
    const fn new(attempts: u32, backoff: Backoff, breaker: Option<BreakerPolicy>) -> Self {
        Self { attempts, backoff, base_ms: 200, cap_ms: 5_000, timeout_ms: 10_000, breaker }
    }

    /// As the engine's policy for the attempts of a step.
    #[must_use]
    pub fn retry(&self) -> RetryPolicy {
        let base = Duration::from_millis(self.base_ms);
        let policy = match self.backoff {
            Backoff::Fixed => RetryPolicy::fixed(base),
            Backoff::Linear => RetryPolicy::linear(base),
            Backoff::Exponential => RetryPolicy::exponential(base),
        };
        policy.cap(Duration::from_millis(self.cap_ms)).attempts(self.attempts)
    }

    /// How long one attempt may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// As the engine's policy for a dependency.
    #[must_use]
    pub fn dependency(&self) -> DependencyPolicy {
        DependencyPolicy { breaker: self.breaker, ..DependencyPolicy::default() }
    }
}

/// How each service is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Configured")]
pub struct Policies {
    payment_group: ServicePolicy,
    invoice: ServicePolicy,
    line_items: ServicePolicy,
    payment_requirement: ServicePolicy,
    events: ServicePolicy,
    other: ServicePolicy,
}

impl Default for Policies {
    fn default() -> Self {
        let breaker = Some(BreakerPolicy::default());
        Self {
            payment_group: ServicePolicy::new(3, Backoff::Exponential, breaker),
            invoice: ServicePolicy::new(3, Backoff::Linear, breaker),
            line_items: ServicePolicy::new(3, Backoff::Exponential, breaker),
            payment_requirement: ServicePolicy::new(3, Backoff::Exponential, breaker),
            events: ServicePolicy::new(2, Backoff::Linear, None),
            other: ServicePolicy::new(3, Backoff::Exponential, breaker),
        }
    }
}

impl Policies {
    /// How this service is asked.
    #[must_use]
    pub fn of(&self, service: Service) -> &ServicePolicy {
        match service {
            Service::PaymentGroup => &self.payment_group,
            Service::Invoice => &self.invoice,
            Service::LineItems => &self.line_items,
            Service::PaymentRequirement => &self.payment_requirement,
            Service::Events => &self.events,
            Service::Other => &self.other,
        }
    }

    /// The dependencies by name, for the engine.
    pub fn dependencies(&self) -> impl Iterator<Item = (&'static str, DependencyPolicy)> + '_ {
        Service::ALL.into_iter().map(|service| (service.name(), self.of(service).dependency()))
    }

    /// An engine that treats the services so.
    #[must_use]
    pub fn apply(&self, builder: EngineBuilder) -> EngineBuilder {
        self.dependencies().fold(builder, |builder, (name, policy)| builder.dependency(name, policy))
    }
}

/// What configuration says of one service; the rest stays as documented.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Override {
    attempts: Option<u32>,
    backoff: Option<Backoff>,
    base_ms: Option<u64>,
    cap_ms: Option<u64>,
    timeout_ms: Option<u64>,
    breaker: Setting,
}

/// `false`, `true` for the default breaker, or a breaker.
#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Setting {
    /// Nothing is said.
    #[default]
    #[serde(skip)]
    Unsaid,
    Switch(bool),
    Breaker(BreakerPolicy),
}

fn or_false<S: Serializer>(breaker: &Option<BreakerPolicy>, serializer: S) -> Result<S::Ok, S::Error> {
    match breaker {
        Some(breaker) => breaker.serialize(serializer),
        None => serializer.serialize_bool(false),
    }
}

impl Override {
    fn over(self, policy: ServicePolicy) -> ServicePolicy {
        ServicePolicy {
            attempts: self.attempts.unwrap_or(policy.attempts),
            backoff: self.backoff.unwrap_or(policy.backoff),
            base_ms: self.base_ms.unwrap_or(policy.base_ms),
            cap_ms: self.cap_ms.unwrap_or(policy.cap_ms),
            timeout_ms: self.timeout_ms.unwrap_or(policy.timeout_ms),
            breaker: match self.breaker {
                Setting::Unsaid => policy.breaker,
                Setting::Switch(false) => None,
                Setting::Switch(true) => Some(BreakerPolicy::default()),
                Setting::Breaker(breaker) => Some(breaker),
            },
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Configured {
    payment_group: Override,
    invoice: Override,
    line_items: Override,
    payment_requirement: Override,
    events: Override,
    other: Override,
}

impl From<Configured> for Policies {
    fn from(configured: Configured) -> Self {
        let documented = Self::default();
        Self {
            payment_group: configured.payment_group.over(documented.payment_group),
            invoice: configured.invoice.over(documented.invoice),
            line_items: configured.line_items.over(documented.line_items),
            payment_requirement: configured.payment_requirement.over(documented.payment_requirement),
            events: configured.events.over(documented.events),
            other: configured.other.over(documented.other),
        }
    }
}
