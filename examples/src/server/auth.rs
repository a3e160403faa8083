//! Who is calling, by a signed token. Nothing in a body says who somebody is.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use checkout_workflows::initiate::role::{Principal, Role};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::{Deserialize, Serialize};

use super::app::App;
use super::config::{Auth, Tokens};
use super::crypto;
use super::jwks::{Jwks, JwksError};
use super::problem::Problem;

/// Longer ones are no tokens of ours, and cost time to look at.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// How far the issuer's clock may be from ours.
const LEEWAY_SECONDS: u64 = 30;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The user's id.
    pub sub: String,
    /// `CUSTOMER`, `PARTNER` or `ADMIN`.
    #[serde(default)]
    pub role: String,
    /// Who issued it.
    pub iss: String,
    /// For whom.
    pub aud: Audience,
    /// Until when it holds, in seconds since 1970.
    pub exp: u64,
}

/// For whom a token is: one, or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

/// Why a call is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is no token.
    #[error("send a token: Authorization: Bearer …")]
    NoToken,
    /// The token is not good. It is not told in which way: the log is.
    #[error("the token is not valid")]
    BadToken,
    /// The token is good, and its role is none that is known.
    #[error("the token's role is none of CUSTOMER, PARTNER and ADMIN")]
    UnknownRole,
}

/// Looks at tokens.
#[derive(Debug)]
pub struct Authenticator {
    keys: Keys,
    issuer: String,
    audience: String,
}

enum Keys {
    Shared(DecodingKey),
    Set(Jwks),
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Shared(_) => "Shared",
            Self::Set(_) => "Set",
        })
    }
}

impl Authenticator {
    /// Reads the keys.
    ///
    /// # Errors
    /// When the JWKS cannot be read.
    pub async fn open(tokens: Tokens) -> Result<Self, JwksError> {
        crypto::install();
        let keys = match tokens.auth {
            Auth::Shared(secret) => Keys::Shared(DecodingKey::from_secret(secret.expose().as_bytes())),
            Auth::Jwks(place) => Keys::Set(Jwks::open(&place).await?),
        };
        Ok(Self { keys, issuer: tokens.issuer, audience: tokens.audience })
    }

    /// Who is calling.
    ///
    /// # Errors
    /// See [`Denied`].
    pub async fn principal(&self, headers: &HeaderMap) -> Result<Principal, Denied> {
        let header = headers.get(AUTHORIZATION).ok_or(Denied::NoToken)?;
        let header = header.to_str().map_err(|_| Denied::BadToken)?;
        let (scheme, token) = header.split_once(' ').ok_or(Denied::NoToken)?;
        if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
            return Err(Denied::NoToken);
        }
        let claims = self.verify(token.trim()).await.map_err(|why| {
            tracing::info!(%why, "a token was refused");
            Denied::BadToken
        })?;
        if claims.sub.is_empty() {
            return Err(Denied::BadToken);
        }
        let roles = [Role::Customer, Role::Partner, Role::Admin];
        let role = roles.into_iter().find(|role| role.as_str().eq_ignore_ascii_case(&claims.role));
        role.map(|role| Principal { user_id: claims.sub, role }).ok_or(Denied::UnknownRole)
    }

    async fn verify(&self, token: &str) -> Result<Claims, Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::TooLong);
        }
        // The algorithm is the key's, whatever the token says: "none" and its like have no key.
        let (algorithm, key) = match &self.keys {
            Keys::Shared(key) => (Algorithm::HS256, key.clone()),
            Keys::Set(keys) => {
                let kid = decode_header(token)?.kid.ok_or(Refusal::UnknownKey)?;
                keys.find(&kid).await.ok_or(Refusal::UnknownKey)?
            }
        };
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        Ok(decode::<Claims>(token, &key, &validation)?.claims)
    }
}

/// Why a token is not good, for the log.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("it is too long")]
    TooLong,
    #[error("no key has its id")]
    UnknownKey,
    #[error(transparent)]
    Token(#[from] jsonwebtoken::errors::Error),
}

/// Who is calling: an argument of every handler that is not for everybody.
#[derive(Clone, Debug)]
pub(super) struct Caller(pub(super) Principal);

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Ok(Self(app.authenticator.principal(&parts.headers).await?))
    }
}
