//! Payloads sealed with AES-256-GCM.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use aes_gcm::aead::{Aead as _, Generate as _, Payload as Sealing};
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::envelope::{Envelope, METHOD};
use super::{Codec, CodecError};
use crate::checkpoint::Digest;

/// How long a key's id may be.
const KID_MAX_BYTES: usize = 64;
const NONCE_BYTES: usize = 12;

type Key = Zeroizing<[u8; 32]>;

/// A key ring cannot be made so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyRingError {
    /// The id cannot be used.
    #[error("the key id {kid:?} cannot be used: it has 1 to {KID_MAX_BYTES} bytes and no control characters")]
    BadId {
        /// The id as given.
        kid: String,
    },
    /// Two keys have one id: payloads would be sealed with a key that does not open them.
    #[error("two keys have the id {kid:?}")]
    Twice {
        /// The id.
        kid: String,
    },
}

/// Seals payloads with AES-256-GCM, under the current key of a key ring; opens them with any key of it.
///
/// The stored form is `{"enc":"A256GCM-HS256","kid":…,"n":…,"c":…}`: the key's id, and in base64 a random
/// nonce and the cipher text with its tag. Every place (saga, kind of record, step) has a key of its own,
/// the HMAC-SHA256 of the place under the ring's key: so the number of payloads that one key may seal is no
/// limit, and a cipher text opens nowhere but where it was written.
///
/// ```
/// use std::sync::Arc;
/// use saga_core::codec::AesGcmCodec;
/// use saga_core::{Definition, step_fn};
///
/// # fn key_from_the_vault(_: &str) -> [u8; 32] { [7; 32] }
/// let codec = AesGcmCodec::new("2026-11", key_from_the_vault("2026-11"))?
///     .with_key("2026-05", key_from_the_vault("2026-05"))?
///     .with_digest_key(key_from_the_vault("digests"));
/// let greet = Definition::build("greet", 1, |saga, name| {
///     let greeting = saga.query("greet", step_fn(async |_, name: String| Ok(format!("hello, {name}"))), name);
///     saga.returns(greeting)
/// })?
/// .with_codec(Arc::new(codec));
/// # drop(greet);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AesGcmCodec {
    current: String,
    keys: BTreeMap<String, Key>,
    digest_key: Option<Key>,
    refuses_plain: bool,
}

impl AesGcmCodec {
    /// A ring with one key, which seals and opens. The key is 32 random bytes; a password is none.
    ///
    /// # Errors
    /// When the id cannot be used.
    pub fn new(kid: &str, key: [u8; 32]) -> Result<Self, KeyRingError> {
        let ring = Self { current: kid.to_owned(), keys: BTreeMap::new(), digest_key: None, refuses_plain: false };
        ring.with_key(kid, key)
    }

    /// Adds a key that only opens: an earlier one, or the next one, which every worker must have before
    /// any of them seals with it.
    ///
    /// # Errors
    /// When the id cannot be used, or is taken.
    pub fn with_key(mut self, kid: &str, key: [u8; 32]) -> Result<Self, KeyRingError> {
        let kid = kid.to_owned();
        if kid.is_empty() || kid.len() > KID_MAX_BYTES || kid.chars().any(char::is_control) {
            return Err(KeyRingError::BadId { kid });
        }
        if self.keys.contains_key(&kid) {
            return Err(KeyRingError::Twice { kid });
        }
        self.keys.insert(kid, Zeroizing::new(key));
        Ok(self)
    }

    /// Keys the fingerprints of inputs, which would otherwise tell equal and guessable inputs. This key is
    /// never rotated: fingerprints are compared as long as a saga's start key is known.
    #[must_use]
    pub fn with_digest_key(mut self, key: [u8; 32]) -> Self {
        self.digest_key = Some(Zeroizing::new(key));
        self
    }

    /// Refuses payloads that are not sealed. Whoever can write to the journal can otherwise put a payload of
    /// their own in the place of a sealed one. To be switched on once no saga is left from before the codec.
    #[must_use]
    pub fn refuse_plain(mut self) -> Self {
        self.refuses_plain = true;
        self
    }
}

impl fmt::Debug for AesGcmCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AesGcmCodec")
            .field("current", &self.current)
            .field("keys", &self.keys.keys())
            .finish_non_exhaustive()
    }
}

impl Codec for AesGcmCodec {
    fn seal(&self, payload: &str, bound_to: &[u8]) -> Result<String, CodecError> {
        let failed = |reason| CodecError::NotSealed { kid: self.current.clone(), reason };
        let key = self.keys.get(&self.current).ok_or_else(|| failed("it is not on the key ring"))?;
        let nonce = Nonce::try_generate().map_err(|_| failed("the system gives no random numbers"))?;
        let sealing = Sealing { msg: payload.as_bytes(), aad: bound_to };
        let sealed = cipher(key, bound_to).encrypt(&nonce, sealing).map_err(|_| failed("it is too large"))?;
        let envelope = Envelope {
            enc: METHOD.into(),
            kid: self.current.as_str().into(),
            n: STANDARD.encode(nonce).into(),
            c: STANDARD.encode(sealed).into(),
        };
        serde_json::to_string(&envelope).map_err(|_| failed("its envelope has no JSON form"))
    }

    fn open<'a>(&self, stored: &'a str, bound_to: &[u8]) -> Result<Cow<'a, str>, CodecError> {
        let Some(envelope) = Envelope::read(stored) else {
            return if self.refuses_plain { Err(CodecError::Plain) } else { Ok(Cow::Borrowed(stored)) };
        };
        let kid = envelope.kid.as_ref();
        let key = self.keys.get(kid).ok_or_else(|| CodecError::UnknownKey { kid: kid.to_owned() })?;
        let opened = open(key, &envelope, bound_to);
        opened.map(Cow::Owned).ok_or_else(|| CodecError::Tampered { kid: kid.to_owned() })
    }

    fn digest(&self, plain: Digest) -> Digest {
        let Some(key) = &self.digest_key else { return plain };
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&mac(key, plain.as_bytes())[..16]);
        Digest::from_bytes(bytes)
    }
}

fn open(key: &Key, envelope: &Envelope<'_>, bound_to: &[u8]) -> Option<String> {
    let nonce: [u8; NONCE_BYTES] = STANDARD.decode(envelope.n.as_bytes()).ok()?.try_into().ok()?;
    let sealed = STANDARD.decode(envelope.c.as_bytes()).ok()?;
    let sealing = Sealing { msg: sealed.as_slice(), aad: bound_to };
    let opened = cipher(key, bound_to).decrypt(&Nonce::from(nonce), sealing).ok()?;
    String::from_utf8(opened).ok()
}

/// The cipher of one place.
fn cipher(key: &Key, bound_to: &[u8]) -> Aes256Gcm {
    Aes256Gcm::new((&*mac(key, bound_to)).into())
}

fn mac(key: &Key, text: &[u8]) -> Key {
    // HMAC fills a shorter key up with zeros.
    let mut block = Zeroizing::new([0; 64]);
    block[..key.len()].copy_from_slice(&**key);
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new((&*block).into());
    mac.update(text);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codec() -> AesGcmCodec {
        AesGcmCodec::new("k1", [1; 32]).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_where_it_was_sealed_and_nowhere_else() {
        let codec = codec();
        let sealed = codec.seal("{\"a\":1}", b"here").unwrap();
        assert_ne!(sealed, codec.seal("{\"a\":1}", b"here").unwrap(), "no two look alike");
        assert_eq!(codec.open(&sealed, b"here").unwrap(), "{\"a\":1}");
        let moved = codec.open(&sealed, b"there").unwrap_err();
        assert!(matches!(&moved, CodecError::Tampered { kid } if kid == "k1"), "{moved}");
    }

    #[test]
    fn a_rotated_key_opens_what_it_sealed_until_it_leaves_the_ring() {
        let sealed = codec().seal("1", b"").unwrap();
        let rotated = AesGcmCodec::new("k2", [2; 32]).unwrap().with_key("k1", [1; 32]).unwrap();
        assert_eq!(rotated.open(&sealed, b"").unwrap(), "1");
        assert!(rotated.seal("1", b"").unwrap().contains("\"kid\":\"k2\""));
        let gone = AesGcmCodec::new("k2", [2; 32]).unwrap().open(&sealed, b"").unwrap_err();
        assert!(matches!(&gone, CodecError::UnknownKey { kid } if kid == "k1"), "{gone}");
        let other = AesGcmCodec::new("k1", [3; 32]).unwrap().open(&sealed, b"").unwrap_err();
        assert!(matches!(other, CodecError::Tampered { .. }));
    }

    #[test]
    fn every_broken_byte_is_noticed() {
        let codec = codec();
        let sealed = codec.seal("\"some text\"", b"here").unwrap();
        for at in 0..sealed.len() {
            let mut bytes = sealed.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(text) = String::from_utf8(bytes) else { continue };
            // What is no envelope any more is handed back as it stands: it opens as nothing else.
            assert!(!matches!(codec.open(&text, b"here"), Ok(Cow::Owned(_))), "{text}");
            assert!(codec.open(&text, b"here").is_ok_and(|plain| plain == text) || codec.open(&text, b"here").is_err());
        }
    }

    #[test]
    fn what_an_earlier_version_sealed_still_opens() {
        let stored =
            r#"{"enc":"A256GCM-HS256","kid":"k1","n":"ftnaRMyWwee0mwMn","c":"dhJ5m7yOSHKQfaCeid+KbP7UkEkMBKk="}"#;
        let place = b"saga\x00018f3b2c-0000-7000-8000-000000000001\0done\0hold";
        assert_eq!(codec().open(stored, place).unwrap(), "{\"a\":1}");
    }

    #[test]
    fn plain_payloads_are_accepted_unless_refused() {
        assert_eq!(codec().open("{\"plain\":1}", b"").unwrap(), "{\"plain\":1}");
        assert!(matches!(codec().refuse_plain().open("1", b""), Err(CodecError::Plain)));
    }

    #[test]
    fn keyed_digests_are_stable_and_tell_nothing() {
        let plain = Digest::of_text("yes");
        assert_eq!(codec().digest(plain), plain);
        let keyed = |key| codec().with_digest_key([key; 32]).digest(plain);
        assert_eq!(keyed(1), keyed(1));
        assert_ne!(keyed(1), plain);
        assert_ne!(keyed(1), keyed(2));
    }

    #[test]
    fn a_key_ring_has_usable_ids_once_each_and_shows_no_keys() {
        assert!(matches!(AesGcmCodec::new("", [0; 32]), Err(KeyRingError::BadId { .. })));
        assert!(matches!(codec().with_key("k1", [0; 32]), Err(KeyRingError::Twice { .. })));
        let shown = format!("{:?}", AesGcmCodec::new("k", [171; 32]).unwrap());
        assert!(!shown.contains("171") && shown.contains("\"k\""), "{shown}");
    }
}
