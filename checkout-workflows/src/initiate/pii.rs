//! Personal data in columns, encrypted with AES-256-GCM.
//!
//! A value is bound to its place ([`RowIdentity`]): copied into another row or column it does not open. Each
//! carries the id of its key, so that keys can be changed: new values are sealed with the ring's current key,
//! old ones open with theirs until they are sealed anew.
//!
//! ```
//! use checkout_workflows::initiate::pii::{KeyRing, RowIdentity};
//!
//! let row = RowIdentity { table: "line_items", column: "location", row: "li_456" };
//! let old = KeyRing::new("2026-01", &[7; 32])?;
//! let stored = old.seal("123 Main St", &row)?;
//!
//! let ring = KeyRing::new("2026-02", &[8; 32])?.with_old("2026-01", &[7; 32])?;
//! assert_eq!(ring.open(&stored, &row)?, "123 Main St");
//! assert!(ring.is_outdated(&stored));
//! # Ok::<(), checkout_workflows::initiate::pii::PiiError>(())
//! ```

use std::collections::BTreeMap;
use std::fmt;

use aes_gcm::aead::{Aead, Generate, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

/// What sealed text begins with, and the version of its form.
const SEALED: &str = "sealed.1.";
/// What text begins with that was stored while the flag was off.
const PLAIN: &str = "plain.";
const NONCE_BYTES: usize = 12;

/// Where a value belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowIdentity<'a> {
    /// The table.
    pub table: &'a str,
    /// The column.
    pub column: &'a str,
    /// The row's primary key.
    pub row: &'a str,
}

impl RowIdentity<'_> {
    /// Each part with its length, so that no two places read the same.
    fn associated_data(&self, key_id: &str) -> Vec<u8> {
        let parts = [SEALED, key_id, self.table, self.column, self.row];
        let mut data = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
        for part in parts {
            data.extend_from_slice(&(part.len() as u64).to_be_bytes());
            data.extend_from_slice(part.as_bytes());
        }
        data
    }
}

/// Why a value could not be sealed or opened. No variant holds what is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PiiError {
    /// A key id is empty, or has a dot or a space in it.
    #[error("{key_id:?} is no id for a key")]
    KeyId {
        /// The id.
        key_id: String,
    },
    /// Two keys have the same id.
    #[error("there are two keys with the id {key_id}")]
    KeyTwice {
        /// The id.
        key_id: String,
    },
    /// The key is not on the ring: put it back, or restore the value.
    #[error("the key {key_id} is not on the ring")]
    KeyUnknown {
        /// The id.
        key_id: String,
    },
    /// The stored text has no form that is known.
    #[error("the stored value is neither sealed nor marked as plain")]
    Form,
    /// The value was changed, or belongs to another row or column.
    #[error("the stored value was not sealed for this row and column with the key {key_id}")]
    NotAuthentic {
        /// The id of the key that it names.
        key_id: String,
    },
    /// The value could not be sealed: it is too long, or the system gave no random numbers.
    #[error("the value could not be sealed")]
    Seal,
}

/// The keys: one that seals, and older ones that only open.
///
/// Change keys before one has sealed 2^32 values: nonces are drawn at random.
#[derive(Clone)]
pub struct KeyRing {
    current: String,
    keys: BTreeMap<String, Aes256Gcm>,
}

impl KeyRing {
    /// A ring with one key.
    ///
    /// # Errors
    /// [`PiiError::KeyId`].
    pub fn new(key_id: &str, key: &[u8; 32]) -> Result<Self, PiiError> {
        Self { current: key_id.to_owned(), keys: BTreeMap::new() }.with_old(key_id, key)
    }

    /// Adds a key that only opens.
    ///
    /// # Errors
    /// [`PiiError::KeyId`], [`PiiError::KeyTwice`].
    pub fn with_old(mut self, key_id: &str, key: &[u8; 32]) -> Result<Self, PiiError> {
        if key_id.is_empty() || key_id.contains(['.', ' ']) {
            return Err(PiiError::KeyId { key_id: key_id.to_owned() });
        }
        if self.keys.insert(key_id.to_owned(), Aes256Gcm::new(key.into())).is_some() {
            return Err(PiiError::KeyTwice { key_id: key_id.to_owned() });
        }
        Ok(self)
    }

    /// The id of the key that seals.
    #[must_use]
    pub fn current(&self) -> &str {
        &self.current
    }

    /// Seals a value for its place.
    ///
    /// # Errors
    /// [`PiiError::Seal`].
    pub fn seal(&self, plaintext: &str, row: &RowIdentity<'_>) -> Result<String, PiiError> {
        let cipher = self.key(&self.current)?;
        let nonce = Nonce::try_generate().map_err(|_| PiiError::Seal)?;
        let aad = row.associated_data(&self.current);
        let payload = Payload { msg: plaintext.as_bytes(), aad: &aad };
        let sealed = cipher.encrypt(&nonce, payload).map_err(|_| PiiError::Seal)?;
        let mut bytes = nonce.to_vec();
        bytes.extend_from_slice(&sealed);
        Ok(format!("{SEALED}{}.{}", self.current, BASE64.encode(bytes)))
    }

    /// What is stored for a value: sealed when the flag is on, and marked as plain otherwise.
    ///
    /// # Errors
    /// [`PiiError::Seal`].
    pub fn store(&self, plaintext: &str, row: &RowIdentity<'_>, encrypt: bool) -> Result<String, PiiError> {
        if encrypt { self.seal(plaintext, row) } else { Ok(format!("{PLAIN}{plaintext}")) }
    }

    /// The value that was stored, sealed or plain.
    ///
    /// # Errors
    /// When its key is missing, or it was not sealed for this place.
    pub fn open(&self, stored: &str, row: &RowIdentity<'_>) -> Result<String, PiiError> {
        if let Some(plain) = stored.strip_prefix(PLAIN) {
            return Ok(plain.to_owned());
        }
        let (key_id, text) = split(stored).ok_or(PiiError::Form)?;
        let bytes = BASE64.decode(text).map_err(|_| PiiError::Form)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_BYTES).ok_or(PiiError::Form)?;
        let nonce = Nonce::try_from(nonce).map_err(|_| PiiError::Form)?;
        let aad = row.associated_data(key_id);
        let forged = || PiiError::NotAuthentic { key_id: key_id.to_owned() };
        let opened = self.key(key_id)?.decrypt(&nonce, Payload { msg: sealed, aad: &aad }).map_err(|_| forged())?;
        String::from_utf8(opened).map_err(|_| forged())
    }

    /// Whether the text is a sealed value, of whatever key.
    #[must_use]
    pub fn is_sealed(stored: &str) -> bool {
        split(stored).is_some()
    }

    /// Whether the value is to be stored anew: plain, or sealed with another key than the current one.
    #[must_use]
    pub fn is_outdated(&self, stored: &str) -> bool {
        split(stored).is_none_or(|(key_id, _)| key_id != self.current)
    }

    /// Opens a value and seals it with the current key.
    ///
    /// # Errors
    /// See [`KeyRing::open`] and [`KeyRing::seal`].
    pub fn reseal(&self, stored: &str, row: &RowIdentity<'_>) -> Result<String, PiiError> {
        self.seal(&self.open(stored, row)?, row)
    }

    fn key(&self, key_id: &str) -> Result<&Aes256Gcm, PiiError> {
        self.keys.get(key_id).ok_or_else(|| PiiError::KeyUnknown { key_id: key_id.to_owned() })
    }
}

/// The key id and the rest of sealed text.
fn split(stored: &str) -> Option<(&str, &str)> {
    stored.strip_prefix(SEALED)?.split_once('.')
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&String> = self.keys.keys().collect();
        f.debug_struct("KeyRing").field("current", &self.current).field("keys", &ids).finish()
    }
}
