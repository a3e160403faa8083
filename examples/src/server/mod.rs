//! The server of the nine-step initiate flow: HTTP in front, a worker behind it, one journal.
//!
//! Run it with `cargo run -p examples --bin initiate-server -- serve --insecure-dev`.

mod api_doc;
mod app;
mod auth;
mod catalogue;
mod config;
mod crypto;
mod event;
mod execution_context;
mod initiate;
mod jwks;
mod limits;
mod meter;
mod probe;
mod problem;
mod publisher;
mod run;
mod secret;
mod token;
mod turn_back;
mod webhook;

pub use app::{
    App, CANCEL, EXECUTION_CONTEXT, HEALTH, INITIATE, LINE_ITEMS_CONFIRMED, METRICS, OPENAPI, PAYMENT_WEBHOOK, READY,
    ROLL_BACK,
};
pub use auth::{Audience, Claims};
pub use config::{Auth, Config, ConfigError, Tokens};
pub use event::{EventReceipt, TakenEvent};
pub use jwks::JwksError;
pub use limits::Limits;
pub use probe::Probe;
pub use problem::Problem;
pub use run::{STAND_IN, Server, ServerError, for_operators};
pub use secret::Secret;
pub use token::{TokenError, TokenFor, token};
pub use webhook::{PaymentPayload, PaymentWebhook, Receipt, Taken};
