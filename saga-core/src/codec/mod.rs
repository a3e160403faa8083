#![doc = include_str!("codec.md")]

#[cfg(feature = "encryption")]
mod aes_gcm;
mod envelope;
mod redact;
mod turns;

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Debug;

#[cfg(feature = "encryption")]
pub use self::aes_gcm::{AesGcmCodec, KeyRingError};
use self::envelope::Envelope;
pub(crate) use self::redact::WITHHELD;
pub(crate) use self::turns::{
    OpenedMail, TurnError, decode_turn, encode_mail, encode_turn, open_event, open_mail, seal_event, seal_late,
};
use crate::checkpoint::Digest;

/// What becomes of payloads between memory and the journal. One codec serves all sagas of a definition, see
/// [`Definition::with_codec`](crate::Definition::with_codec).
///
/// What is stored is always a JSON text: journals, consoles and SQL need not know the codec.
pub trait Codec: Debug + Send + Sync + 'static {
    /// The stored form of a payload: a JSON text. `bound_to` names the one place where it may be opened.
    ///
    /// # Errors
    /// See [`CodecError`]. The saga is then set aside; a start or a signal is refused. A panic is taken for an error.
    fn seal(&self, payload: &str, bound_to: &[u8]) -> Result<String, CodecError>;

    /// The payload that was stored. A text that this codec never made is handed back as it stands, so that
    /// what was written before the codec was switched on stays readable.
    ///
    /// # Errors
    /// See [`CodecError`]. The saga is then set aside as unreadable. A panic is taken for an error.
    fn open<'a>(&self, stored: &'a str, bound_to: &[u8]) -> Result<Cow<'a, str>, CodecError>;

    /// The stored form of an input's fingerprint, the same for all time. A plain fingerprint tells two
    /// equal inputs, and one of few possible inputs, to whoever reads the journal.
    fn digest(&self, plain: Digest) -> Digest {
        plain
    }

    /// Whether payloads are secret: then no error text of the engine quotes them.
    fn is_secret(&self) -> bool {
        true
    }
}

/// Codecs are used behind a pointer.
const _: fn(&dyn Codec) = |_| {};

/// Payloads as they are: what definitions have that were given no codec.
///
/// It opens nothing. A payload that another codec has sealed is an error that names the key, rather than
/// an input of the wrong shape.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl Codec for Json {
    fn seal(&self, payload: &str, _bound_to: &[u8]) -> Result<String, CodecError> {
        Ok(payload.to_owned())
    }

    fn open<'a>(&self, stored: &'a str, _bound_to: &[u8]) -> Result<Cow<'a, str>, CodecError> {
        match Envelope::read(stored) {
            Some(envelope) => Err(CodecError::NoCodec { kid: envelope.kid.into_owned() }),
            None => Ok(Cow::Borrowed(stored)),
        }
    }

    fn is_secret(&self) -> bool {
        false
    }
}

/// A payload was not sealed or not opened. No text here shows a payload.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The payload is sealed, and the definition has no codec. Give it one.
    #[error("the payload is sealed with the key {kid:?}, and the definition has no codec: see Definition::with_codec")]
    NoCodec {
        /// The key's id.
        kid: String,
    },
    /// The payload is sealed with a key that is not there. Add it to the key ring, and resume the saga.
    #[error("the payload is sealed with the key {kid:?}, which is not on the key ring")]
    UnknownKey {
        /// The key's id.
        kid: String,
    },
    /// The payload does not open with its key: it was changed, or comes from another place, or the key is
    /// another one under the same id.
    #[error(
        "the payload does not open with the key {kid:?}: it was changed, or moved here from elsewhere, or another key had this id"
    )]
    Tampered {
        /// The key's id.
        kid: String,
    },
    /// The payload is not sealed, though the codec was told to accept no other.
    #[error("the payload is not sealed, and the codec accepts no other")]
    Plain,
    /// The payload cannot be sealed.
    #[error("the payload cannot be sealed with the key {kid:?}: {reason}")]
    NotSealed {
        /// The key's id.
        kid: String,
        /// Why not.
        reason: &'static str,
    },
    /// What the codec handed back is no JSON text.
    #[error("what the codec handed back is no JSON text")]
    NotJson,
    /// The codec panicked. What it said is withheld: it may quote a payload.
    #[error("the codec panicked")]
    Panicked,
    /// Another codec's own trouble. Its text must not show a payload.
    #[error("the codec failed")]
    Other {
        /// What it said.
        source: Box<dyn Error + Send + Sync>,
    },
}
