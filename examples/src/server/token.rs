//! Makes tokens for the shared secret: for a look at the server, and for tests of what it refuses.

use std::time::Duration;

use clap::Args;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};

use super::auth::{Audience, Claims};
use super::config::{Auth, Config, ConfigError};
use super::crypto;

/// For whom a token is made.
#[derive(Args, Clone, Debug)]
pub struct TokenFor {
    /// The user.
    #[arg(long)]
    pub user: String,
    /// CUSTOMER, PARTNER or ADMIN.
    #[arg(long, default_value = "CUSTOMER")]
    pub role: String,
    /// For how long, in minutes.
    #[arg(long, default_value_t = 60)]
    pub minutes: u64,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The settings are not good.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The keys are somebody else's.
    #[error("tokens for a JWKS are made by whoever has its private keys")]
    NotOurs,
    /// It could not be signed.
    #[error("the token could not be signed")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// A token that a server with these settings takes.
///
/// # Errors
/// See [`TokenError`].
pub fn token(config: &Config, token: &TokenFor) -> Result<String, TokenError> {
    crypto::install();
    let tokens = config.tokens()?;
    let Auth::Shared(secret) = tokens.auth else { return Err(TokenError::NotOurs) };
    let lifetime = Duration::from_secs(60).saturating_mul(u32::try_from(token.minutes).unwrap_or(u32::MAX));
    let claims = Claims {
        sub: token.user.clone(),
        role: token.role.clone(),
        iss: tokens.issuer,
        aud: Audience::One(tokens.audience),
        exp: get_current_timestamp().saturating_add(lifetime.as_secs()),
    };
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    Ok(encode(&Header::new(Algorithm::HS256), &claims, &key)?)
}
