//! Error texts without what they quote: serde's words hold the values that did not fit.

use std::any::Any;

use serde::de::Error as _;

use super::Codec as _;
use super::{Json, TurnError};
use crate::checkpoint::{CheckpointError, Digest};
use crate::definition::Blueprint;

impl Blueprint {
    /// Whether error texts must not quote payloads.
    pub(crate) fn is_secret(&self) -> bool {
        self.codec.as_ref().map_or(Json.is_secret(), |codec| codec.is_secret())
    }

    /// The stored form of an input's fingerprint.
    pub(crate) fn digest(&self, plain: Digest) -> Digest {
        self.codec.as_ref().map_or(plain, |codec| codec.digest(plain))
    }

    /// Whether the stored fingerprint is this one; also when it was stored before fingerprints were keyed.
    pub(crate) fn is_digest(&self, stored: Digest, plain: Digest) -> bool {
        stored == plain || stored == self.digest(plain)
    }

    /// An error of encoding a payload, without what it quotes when payloads are secret.
    pub(crate) fn unencoded(&self, error: CheckpointError) -> TurnError {
        match error {
            CheckpointError::Encode { source } | CheckpointError::Decode { source, .. } => {
                TurnError::Json(self.withhold_json(source))
            }
            CheckpointError::Missing { step } => {
                TurnError::Json(serde_json::Error::custom(format_args!("{step} is missing")))
            }
        }
    }

    /// The same error, without what it quotes when payloads are secret.
    pub(crate) fn withhold(&self, error: CheckpointError) -> CheckpointError {
        match error {
            CheckpointError::Encode { source } => CheckpointError::Encode { source: self.withhold_json(source) },
            CheckpointError::Decode { as_type, source } => {
                CheckpointError::Decode { as_type, source: self.withhold_json(source) }
            }
            missing @ CheckpointError::Missing { .. } => missing,
        }
    }

    /// The same error, without what it quotes when payloads are secret.
    pub(crate) fn withhold_json(&self, error: serde_json::Error) -> serde_json::Error {
        if self.is_secret() { redacted(&error) } else { error }
    }

    /// A panic's message, or that it is withheld because payloads are secret.
    pub(crate) fn panic_text<'p>(&self, panic: &'p (dyn Any + Send)) -> &'p str {
        if self.is_secret() { WITHHELD } else { crate::engine::panic_message(panic) }
    }
}

/// What stands where a message might quote a payload.
pub(crate) const WITHHELD: &str = "(withheld: it may quote a payload)";

/// Where and of what kind the error is, without its words.
fn redacted(error: &serde_json::Error) -> serde_json::Error {
    let (kind, line, column) = (error.classify(), error.line(), error.column());
    serde_json::Error::custom(format_args!("{kind:?} error at line {line}, column {column} {WITHHELD}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_serde_quotes_is_withheld() {
        let error = serde_json::from_str::<u8>("\"4111 1111\"").unwrap_err();
        assert!(error.to_string().contains("4111"), "{error}");
        let shown = format!("{0} {0:?}", redacted(&error));
        assert!(!shown.contains("4111") && shown.contains("column"), "{shown}");
    }
}
