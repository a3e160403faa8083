//! The public keys of whoever issues tokens, from a file or an address.

use std::collections::HashMap;
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use tokio::sync::{Mutex, RwLock};
use tokio::time::Instant;

/// Keys that were withdrawn are in use no longer than this.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(600);
/// Tokens with unknown keys do not make us ask more often than this.
const READ_AGAIN_MIN: Duration = Duration::from_secs(10);
/// How long reading may take.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest set that is read: a key is half a kilobyte.
const BYTES_MAX: usize = 256 * 1024;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JwksError {
    /// The file cannot be read.
    #[error("the JWKS file cannot be read")]
    File(#[from] std::io::Error),
    /// The address gives nothing.
    #[error("the JWKS address gives nothing")]
    Address(#[from] reqwest::Error),
    /// What it gives is too large.
    #[error("the JWKS has more than {BYTES_MAX} bytes")]
    TooLarge,
    /// What is there is no JWKS.
    #[error("what was read is no JWKS")]
    Form(#[from] serde_json::Error),
    /// None of the keys can be used.
    #[error("the JWKS has no key for RS256 or ES256 with an id")]
    NoKeys,
}

/// The keys, each with the one algorithm that it is for.
pub(super) struct Jwks {
    place: Place,
    known: RwLock<Known>,
    /// One reads, the others wait for what it finds.
    reading: Mutex<()>,
}

enum Place {
    File(String),
    Address { client: reqwest::Client, url: String },
}

struct Known {
    keys: HashMap<String, (Algorithm, DecodingKey)>,
    read_at: Instant,
}

impl Jwks {
    pub(super) async fn open(place: &str) -> Result<Self, JwksError> {
        let place = if place.starts_with("http://") || place.starts_with("https://") {
            let client = reqwest::Client::builder().timeout(READ_TIMEOUT);
            let client = client.redirect(reqwest::redirect::Policy::none()).build()?;
            Place::Address { client, url: place.to_owned() }
        } else {
            Place::File(place.to_owned())
        };
        let keys = place.read().await?;
        let known = Known { keys, read_at: Instant::now() };
        Ok(Self { place, known: RwLock::new(known), reading: Mutex::default() })
    }

    /// The key of this id. One that is not known yet is looked for.
    pub(super) async fn find(&self, kid: &str) -> Option<(Algorithm, DecodingKey)> {
        let (found, age) = self.look(kid).await;
        let wait = if found.is_some() { READ_AGAIN_AFTER } else { READ_AGAIN_MIN };
        if age < wait {
            return found;
        }
        let _reading = self.reading.lock().await;
        let (found, age) = self.look(kid).await;
        if age < wait {
            return found;
        }
        let read = self.place.read().await;
        let mut known = self.known.write().await;
        // Also after a failure: the issuer is not asked for every token.
        known.read_at = Instant::now();
        match read {
            Ok(keys) => known.keys = keys,
            Err(error) => tracing::warn!(%error, "the JWKS cannot be read again; the keys read before are used"),
        }
        known.keys.get(kid).cloned()
    }

    async fn look(&self, kid: &str) -> (Option<(Algorithm, DecodingKey)>, Duration) {
        let known = self.known.read().await;
        (known.keys.get(kid).cloned(), known.read_at.elapsed())
    }
}

impl Place {
    async fn read(&self) -> Result<HashMap<String, (Algorithm, DecodingKey)>, JwksError> {
        let text = match self {
            Self::File(path) => tokio::fs::read(path).await?,
            Self::Address { client, url } => {
                let mut response = client.get(url).send().await?.error_for_status()?;
                let mut text = Vec::new();
                while let Some(chunk) = response.chunk().await? {
                    text.extend_from_slice(&chunk);
                    if text.len() > BYTES_MAX {
                        return Err(JwksError::TooLarge);
                    }
                }
                text
            }
        };
        let set: JwkSet = serde_json::from_slice(&text)?;
        let keys: HashMap<_, _> = set.keys.iter().filter_map(usable).collect();
        if keys.is_empty() { Err(JwksError::NoKeys) } else { Ok(keys) }
    }
}

/// Public keys for signatures only. A symmetric key has no place in a public set.
fn usable(jwk: &Jwk) -> Option<(String, (Algorithm, DecodingKey))> {
    let for_signatures = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
    let algorithm = match (&jwk.algorithm, jwk.common.key_algorithm) {
        (AlgorithmParameters::RSA(_), None | Some(KeyAlgorithm::RS256)) => Algorithm::RS256,
        (AlgorithmParameters::EllipticCurve(key), None | Some(KeyAlgorithm::ES256))
            if key.curve == EllipticCurve::P256 =>
        {
            Algorithm::ES256
        }
        _ => return None,
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    let kid = jwk.common.key_id.clone().filter(|_| for_signatures)?;
    Some((kid, (algorithm, key)))
}

impl std::fmt::Debug for Jwks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Jwks")
    }
}
