//! What can be journalled: values that encode to a [`Payload`] and back.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

/// An encoded value: one JSON text, written once and never rewritten. Cheap to clone.
///
/// Its `Debug` shows the size alone, so that personal data does not leak into logs.
#[derive(Clone)]
pub struct Payload(Arc<RawValue>);

impl Payload {
    /// The JSON text.
    #[must_use]
    pub fn as_json(&self) -> &str {
        self.0.get()
    }

    /// The size in bytes, as journalled.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.get().len()
    }

    /// Never true: the shortest JSON text has one byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The JSON text `null`: what a step leaves that has nothing to leave.
    #[must_use]
    pub fn null() -> Self {
        Self(RawValue::NULL.to_owned().into())
    }

    /// The JSON text `{}`.
    pub(crate) fn empty_object() -> Self {
        Self(RawValue::from_string("{}".to_owned()).expect("an object").into())
    }

    /// Takes a JSON text as it stands, for example one that an operator supplies.
    ///
    /// # Errors
    /// When the text is not one JSON value.
    pub fn from_json(text: String) -> Result<Self, CheckpointError> {
        RawValue::from_string(text).map(|raw| Self(raw.into())).map_err(CheckpointError::encode)
    }

    /// A fingerprint of the value that does not depend on the order of keys in maps.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_json(self.as_json())
    }
}

/// Feeds `value` to the hasher with every map's keys in order and every length in front.
fn hash_value(value: &serde_json::Value, hasher: &mut Sha256) {
    use serde_json::Value;
    match value {
        Value::Null => hasher.update(b"n"),
        Value::Bool(true) => hasher.update(b"t"),
        Value::Bool(false) => hasher.update(b"f"),
        Value::Number(number) => hash_text(b"#", &number.to_string(), hasher),
        Value::String(text) => hash_text(b"s", text, hasher),
        Value::Array(items) => {
            hasher.update(b"[");
            hasher.update((items.len() as u64).to_le_bytes());
            for item in items {
                hash_value(item, hasher);
            }
        }
        Value::Object(map) => {
            hasher.update(b"{");
            hasher.update((map.len() as u64).to_le_bytes());
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            for (key, value) in entries {
                hash_text(b"k", key, hasher);
                hash_value(value, hasher);
            }
        }
    }
}

fn hash_text(tag: &[u8], text: &str, hasher: &mut Sha256) {
    hasher.update(tag);
    hasher.update((text.len() as u64).to_le_bytes());
    hasher.update(text);
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.len())
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.as_json() == other.as_json()
    }
}

impl Eq for Payload {}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|raw| Self(raw.into()))
    }
}

/// The fingerprint of an input: 128 bits of SHA-256 over its canonical form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 16]);

impl Digest {
    /// From stored bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// For storage.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The fingerprint of the value that this JSON text stands for.
    fn of_json(text: &str) -> Self {
        let mut hasher = Sha256::new();
        match serde_json::from_str::<serde_json::Value>(text) {
            Ok(value) => hash_value(&value, &mut hasher),
            // Deeper than the parser goes: the text itself is still a sound fingerprint.
            Err(_) => hasher.update(text),
        }
        let mut digest = [0; 16];
        digest.copy_from_slice(&hasher.finalize()[..16]);
        Self(digest)
    }

    /// The fingerprint of a text.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        let mut digest = [0; 16];
        digest.copy_from_slice(&Sha256::digest(text)[..16]);
        Self(digest)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Every intent holds one: byte by byte through the formatter took as long as the rest of the record.
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16)
            .ok()
            .filter(|_| text.len() == 32)
            .map(|bits| Self(bits.to_be_bytes()))
            .ok_or_else(|| serde::de::Error::custom("a digest is 32 hexadecimal digits"))
    }
}

/// A value that can stand in the journal: a saga's input, a step's input or output.
///
/// Implemented for everything that serde can write and read. The encoding must be deterministic up
/// to the order of map keys: use a `BTreeSet` rather than a `HashSet`, because the fingerprint of a
/// step's input is journalled with its intent and compared before every further attempt.
///
/// ```
/// use saga_core::Checkpoint;
///
/// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
/// struct Hold { authorization: String, amount_minor: i64 }
///
/// let hold = Hold { authorization: "auth-1".into(), amount_minor: 47_117 };
/// let payload = hold.encode()?;
/// assert_eq!(Hold::decode(&payload)?, hold);
/// # Ok::<(), saga_core::CheckpointError>(())
/// ```
pub trait Checkpoint: Sized + Send + Sync + 'static {
    /// Encodes the value.
    ///
    /// # Errors
    /// When the value has no JSON form (a map whose keys are not strings, a failing `Serialize`).
    fn encode(&self) -> Result<Payload, CheckpointError>;

    /// Decodes a value that was encoded earlier, perhaps by an older binary.
    ///
    /// # Errors
    /// When the payload does not have the shape of `Self`.
    fn decode(payload: &Payload) -> Result<Self, CheckpointError>;

    /// The fingerprint of the encoded value.
    ///
    /// # Errors
    /// As [`Checkpoint::encode`].
    fn digest(&self) -> Result<Digest, CheckpointError> {
        self.encode().map(|payload| payload.digest())
    }
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Checkpoint for T {
    fn encode(&self) -> Result<Payload, CheckpointError> {
        serde_json::value::to_raw_value(self).map(|raw| Payload(raw.into())).map_err(CheckpointError::encode)
    }

    fn decode(payload: &Payload) -> Result<Self, CheckpointError> {
        serde_json::from_str(payload.as_json())
            .map_err(|source| CheckpointError::Decode { as_type: std::any::type_name::<Self>(), source })
    }

    fn digest(&self) -> Result<Digest, CheckpointError> {
        serde_json::to_string(self).map(|text| Digest::of_json(&text)).map_err(CheckpointError::encode)
    }
}

/// A value could not be encoded for, or decoded from, the journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The value has no encoded form. Change its type.
    #[error("the value cannot be encoded as JSON")]
    Encode {
        /// What serde said.
        source: serde_json::Error,
    },
    /// The journalled payload does not have the shape that this binary expects. Deploy a binary
    /// that can read it, or give the definition a new version.
    #[error("the journalled payload does not decode as {as_type}")]
    Decode {
        /// The Rust type that was asked for.
        as_type: &'static str,
        /// What serde said.
        source: serde_json::Error,
    },
    /// The output that is asked for was never journalled: the step has not completed.
    #[error("the step {step} has left no output")]
    Missing {
        /// The step.
        step: crate::id::StepName,
    },
}

impl CheckpointError {
    fn encode(source: serde_json::Error) -> Self {
        Self::Encode { source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(json: &str) -> Digest {
        Payload::from_json(json.to_owned()).unwrap().digest()
    }

    #[test]
    fn the_digest_ignores_key_order_and_nothing_else() {
        assert_eq!(digest(r#"{"a":1,"b":[2,3]}"#), digest(r#"{ "b":[2,3], "a":1 }"#));
        assert_ne!(digest(r#"{"a":1,"b":[2,3]}"#), digest(r#"{"a":1,"b":[3,2]}"#));
        assert_ne!(digest(r#"["ab","c"]"#), digest(r#"["a","bc"]"#));
        assert_ne!(digest("1"), digest("\"1\""));
    }

    #[test]
    fn a_digest_survives_storage_as_text() {
        let digest = digest("[1]");
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), digest);
        assert!(serde_json::from_str::<Digest>("\"12\"").is_err());
    }

    #[test]
    fn debug_shows_no_content() {
        let payload = "4111 1111 1111 1111".to_owned().encode().unwrap();
        assert_eq!(format!("{payload:?}"), "Payload(21 bytes)");
    }
}
