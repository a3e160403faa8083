//! What the server is told, by flags or by the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use checkout_workflows::initiate::pii::{KeyRing, PiiError};
use checkout_workflows::initiate::webhook::{WeakSecret, WebhookSecrets};
use clap::Args;

use super::secret::Secret;

/// HS256 is as strong as its key, up to 256 bits.
const JWT_SECRET_BYTES_MIN: usize = 32;
/// What `--insecure-dev` uses where nothing is given. Everybody knows these.
const DEV_JWT_SECRET: &str = "insecure-dev-jwt-secret-that-everybody-knows";
const DEV_WEBHOOK_SECRET: &str = "insecure-dev-webhook-secret";
const DEV_EVENTS_SECRET: &str = "insecure-dev-events-secret";
const DEV_PII_KEY: [u8; 32] = [7; 32];
const DEV_NAME: &str = "insecure-dev";

/// The server's settings. Secrets belong into the environment: everybody on the machine sees flags.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, env = "INITIATE_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Journal and tables: `sqlite://FILE`, which is made when it is not there, or `postgres://…`.
    #[arg(long, env = "INITIATE_DATABASE_URL", hide_env_values = true, default_value = "sqlite://initiate.db")]
    pub database_url: Secret,
    /// The worker's name in the journal.
    #[arg(long, env = "INITIATE_WORKER_NAME")]
    pub worker_name: Option<String>,
    /// Events go to this NATS server with JetStream, into the stream INITIATE.
    #[arg(long, env = "INITIATE_NATS_URL", hide_env_values = true)]
    pub nats_url: Option<Secret>,
    /// Events go to this address, as CloudEvents. Without this and NATS they go to the log.
    #[arg(long, env = "INITIATE_EVENTS_URL", hide_env_values = true, conflicts_with = "nats_url")]
    pub events_url: Option<Secret>,
    /// The payment vendor.
    #[arg(long, env = "INITIATE_VENDOR_URL", hide_env_values = true)]
    pub vendor_url: Option<Secret>,
    /// What the vendor signs its webhooks with.
    #[arg(long, env = "INITIATE_WEBHOOK_SECRET", hide_env_values = true)]
    pub webhook_secret: Option<Secret>,
    /// What the vendor signed its webhooks with before: taken as well, while secrets are changed.
    #[arg(long, env = "INITIATE_WEBHOOK_OLD_SECRET", hide_env_values = true)]
    pub webhook_old_secret: Option<Secret>,
    /// The customers' repeat program, which is told of line items that are confirmed.
    #[arg(long, env = "INITIATE_REPEAT_PROGRAM_URL", hide_env_values = true)]
    pub repeat_program_url: Option<Secret>,
    /// What the bus signs the events with that it posts here. Without it none are taken.
    #[arg(long, env = "INITIATE_EVENTS_SECRET", hide_env_values = true)]
    pub events_secret: Option<Secret>,
    /// What personal data is sealed with: an id, a colon, and 32 bytes in base64.
    #[arg(long, env = "INITIATE_PII_KEY", hide_env_values = true)]
    pub pii_key: Option<Secret>,
    /// Keys that open older data, separated by commas.
    #[arg(long, env = "INITIATE_PII_OLD_KEYS", hide_env_values = true, value_delimiter = ',')]
    pub pii_old_key: Vec<Secret>,
    /// Tokens are signed with HS256 and this secret.
    #[arg(long, env = "INITIATE_JWT_SECRET", hide_env_values = true, conflicts_with = "jwks")]
    pub jwt_secret: Option<Secret>,
    /// Tokens are signed with RS256 or ES256, by a key of this JWKS: a file, or an http(s) address.
    #[arg(long, env = "INITIATE_JWKS")]
    pub jwks: Option<String>,
    /// Who issues tokens.
    #[arg(long, env = "INITIATE_JWT_ISSUER")]
    pub jwt_issuer: Option<String>,
    /// For whom tokens are issued.
    #[arg(long, env = "INITIATE_JWT_AUDIENCE")]
    pub jwt_audience: Option<String>,
    /// For a look on one's own machine: well-known secrets, a stand-in for the vendor in this process, and
    /// the documented examples in the catalogue. Refused on any address but the loopback interface.
    #[arg(long)]
    pub insecure_dev: bool,
    /// Plans, slots, coupons and credits, as JSON.
    #[arg(long, env = "INITIATE_CATALOGUE")]
    pub catalogue: Option<PathBuf>,
    /// Feature flags, as JSON.
    #[arg(long, env = "INITIATE_FLAGS")]
    pub flags: Option<PathBuf>,
    /// How often, how patiently and behind which breaker each service is asked, as JSON: what differs from the
    /// documented table.
    #[arg(long, env = "INITIATE_POLICIES")]
    pub policies: Option<PathBuf>,
    /// Whose marketplace it is, for requests without the header `tenant`.
    #[arg(long, env = "INITIATE_TENANT", default_value = "default")]
    pub tenant: String,
    /// How long the payment is waited for, in milliseconds.
    #[arg(long, env = "INITIATE_PAYMENT_WAIT_MS", default_value_t = 15 * 60 * 1000)]
    pub payment_wait_ms: u64,
    /// How long a client waits for its answer before it gets 202, in milliseconds.
    #[arg(long, env = "INITIATE_ANSWER_WITHIN_MS", default_value_t = 10_000)]
    pub answer_within_ms: u64,
    /// How long any request may take before it gets 504, in milliseconds.
    #[arg(long, env = "INITIATE_REQUEST_TIMEOUT_MS", default_value_t = 15_000)]
    pub request_timeout_ms: u64,
    /// How long a call to the vendor may take, in milliseconds.
    #[arg(long, env = "INITIATE_VENDOR_TIMEOUT_MS", default_value_t = 5_000)]
    pub vendor_timeout_ms: u64,
    /// The largest body that is read, in bytes: requests are a few kilobytes.
    #[arg(long, env = "INITIATE_BODY_BYTES_MAX", default_value_t = 64 * 1024)]
    pub body_bytes_max: usize,
    /// How many requests are worked on at a time; more get 503.
    #[arg(long, env = "INITIATE_REQUESTS_MAX", default_value_t = 256)]
    pub requests_max: usize,
    /// After what time other workers take over the sagas of one that is gone, in milliseconds.
    #[arg(long, env = "INITIATE_LEASE_TTL_MS", default_value_t = 10_000)]
    pub lease_ttl_ms: u64,
    /// How long requests and attempts that are under way get at the end, in milliseconds.
    #[arg(long, env = "INITIATE_DRAIN_MS", default_value_t = 12_000)]
    pub drain_ms: u64,
}

/// Settings that do not fit together. None shows a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Nobody could sign in, or everybody.
    #[error("set INITIATE_JWT_SECRET or INITIATE_JWKS: without them nobody can be told apart")]
    NoAuth,
    /// Tokens of anybody, for anybody, would do.
    #[error("set INITIATE_JWT_ISSUER and INITIATE_JWT_AUDIENCE: tokens are checked against both")]
    NoIssuerOrAudience,
    /// The secret can be guessed.
    #[error("INITIATE_JWT_SECRET has less than {JWT_SECRET_BYTES_MIN} bytes")]
    WeakJwtSecret,
    /// Webhooks could not be proven.
    #[error("set INITIATE_WEBHOOK_SECRET: without it anybody could say that something was paid")]
    NoWebhookSecret,
    /// The secret can be guessed.
    #[error("a webhook secret is too short")]
    WeakWebhookSecret(#[from] WeakSecret),
    /// Events would be taken that nobody could be told of.
    #[error("set both INITIATE_EVENTS_SECRET and INITIATE_REPEAT_PROGRAM_URL, or neither: one is of no use alone")]
    HalfOfEvents,
    /// Personal data could not be sealed.
    #[error("set INITIATE_PII_KEY, for example to \"2026-01:$(openssl rand -base64 32)\"")]
    NoPiiKey,
    /// The key is none.
    #[error("a PII key is not of the form id:base64, with 32 bytes")]
    PiiKeyForm,
    /// The key is refused.
    #[error("a PII key cannot be used")]
    PiiKey(#[from] PiiError),
    /// Nobody would be paid.
    #[error("set INITIATE_VENDOR_URL: the stand-in takes no money, and is for --insecure-dev only")]
    NoVendor,
    /// The well-known secrets would be in use where others can reach them.
    #[error("--insecure-dev is for the loopback interface, and {0} is none")]
    InsecureAddress(SocketAddr),
    /// The client would get a time-out in place of the id of its execution.
    #[error("the request time-out must be longer than the time within which clients are answered")]
    Timeouts,
    /// There is no TLS in this build.
    #[error("{0} is an https address: build with --features https")]
    NoTls(&'static str),
}

/// How callers prove who they are.
#[derive(Clone, Debug)]
pub enum Auth {
    /// HS256 with a shared secret.
    Shared(Secret),
    /// RS256 or ES256 by keys from this place.
    Jwks(String),
}

/// Who issues tokens, and for whom.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// How they are signed.
    pub auth: Auth,
    /// Who issues them.
    pub issuer: String,
    /// For whom.
    pub audience: String,
}

impl Config {
    /// Refuses settings that do not fit together, or are not safe.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.insecure_dev && !self.listen.ip().is_loopback() {
            return Err(ConfigError::InsecureAddress(self.listen));
        }
        if self.vendor_url.is_none() && !self.insecure_dev {
            return Err(ConfigError::NoVendor);
        }
        if self.answer_within_ms >= self.request_timeout_ms {
            return Err(ConfigError::Timeouts);
        }
        let addresses = [
            ("the vendor's address", self.vendor_url.as_ref().map(Secret::expose)),
            ("the repeat program's address", self.repeat_program_url.as_ref().map(Secret::expose)),
            ("the events' address", self.events_url.as_ref().map(Secret::expose)),
            ("the JWKS", self.jwks.as_deref()),
        ];
        for (name, address) in addresses {
            if !cfg!(feature = "https") && address.is_some_and(|address| address.starts_with("https:")) {
                return Err(ConfigError::NoTls(name));
            }
        }
        self.tokens()?;
        if self.events_secret.is_some() != self.repeat_program_url.is_some() && !self.insecure_dev {
            return Err(ConfigError::HalfOfEvents);
        }
        self.webhook_secrets()?;
        self.event_secrets()?;
        self.pii()?;
        Ok(())
    }

    /// How callers prove who they are.
    ///
    /// # Errors
    /// When that is not said, or too weak.
    pub fn tokens(&self) -> Result<Tokens, ConfigError> {
        let auth = match (&self.jwt_secret, &self.jwks) {
            (Some(secret), _) if secret.expose().len() < JWT_SECRET_BYTES_MIN => {
                return Err(ConfigError::WeakJwtSecret);
            }
            (Some(secret), _) => Auth::Shared(secret.clone()),
            (None, Some(place)) => Auth::Jwks(place.clone()),
            (None, None) if self.insecure_dev => Auth::Shared(dev_secret(DEV_JWT_SECRET)),
            (None, None) => return Err(ConfigError::NoAuth),
        };
        let named = |given: &Option<String>| {
            let dev = self.insecure_dev.then(|| DEV_NAME.to_owned());
            given.clone().filter(|name| !name.is_empty()).or(dev).ok_or(ConfigError::NoIssuerOrAudience)
        };
        Ok(Tokens { auth, issuer: named(&self.jwt_issuer)?, audience: named(&self.jwt_audience)? })
    }

    /// What the vendor signs its webhooks with; the stand-in signs with it as well.
    ///
    /// # Errors
    /// When it is not said.
    pub fn webhook_secret(&self) -> Result<Secret, ConfigError> {
        match &self.webhook_secret {
            Some(secret) => Ok(secret.clone()),
            None if self.insecure_dev => Ok(dev_secret(DEV_WEBHOOK_SECRET)),
            None => Err(ConfigError::NoWebhookSecret),
        }
    }

    /// What webhooks are proven with.
    ///
    /// # Errors
    /// When that is not said, or too weak.
    pub fn webhook_secrets(&self) -> Result<WebhookSecrets, ConfigError> {
        let secrets = WebhookSecrets::new(self.webhook_secret()?.expose().as_bytes())?;
        match &self.webhook_old_secret {
            Some(old) => Ok(secrets.and(old.expose().as_bytes())?),
            None => Ok(secrets),
        }
    }

    /// What events of the bus are proven with; none when none are taken.
    ///
    /// # Errors
    /// When it is too weak.
    pub fn event_secrets(&self) -> Result<Option<WebhookSecrets>, ConfigError> {
        let dev = self.insecure_dev.then(|| dev_secret(DEV_EVENTS_SECRET));
        let secret = self.events_secret.clone().or(dev);
        Ok(secret.map(|secret| WebhookSecrets::new(secret.expose().as_bytes())).transpose()?)
    }

    /// What personal data is sealed with.
    ///
    /// # Errors
    /// When that is not said, or no key.
    pub fn pii(&self) -> Result<KeyRing, ConfigError> {
        let ring = match &self.pii_key {
            Some(key) => {
                let (id, key) = pii_key(key)?;
                KeyRing::new(&id, &key)?
            }
            None if self.insecure_dev => KeyRing::new(DEV_NAME, &DEV_PII_KEY)?,
            None => return Err(ConfigError::NoPiiKey),
        };
        self.pii_old_key.iter().try_fold(ring, |ring, key| {
            let (id, key) = pii_key(key)?;
            Ok(ring.with_old(&id, &key)?)
        })
    }

    /// How long the payment is waited for.
    #[must_use]
    pub fn payment_wait(&self) -> Duration {
        Duration::from_millis(self.payment_wait_ms)
    }

    /// How long requests and attempts that are under way get at the end.
    #[must_use]
    pub fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }
}

fn dev_secret(text: &str) -> Secret {
    let Ok(secret) = text.parse();
    secret
}

fn pii_key(text: &Secret) -> Result<(String, [u8; 32]), ConfigError> {
    let (id, key) = text.expose().split_once(':').ok_or(ConfigError::PiiKeyForm)?;
    let bytes = BASE64.decode(key).map_err(|_| ConfigError::PiiKeyForm)?;
    Ok((id.to_owned(), bytes.try_into().map_err(|_| ConfigError::PiiKeyForm)?))
}
