//! The stored form of a sealed payload.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// How the payload is sealed, see `AesGcmCodec`.
pub(super) const METHOD: &str = "A256GCM-HS256";
/// How the text of every envelope begins: plain payloads are told from it without being parsed.
const BEGINNING: &str = "{\"enc\":\"A256GCM-HS256\",";

/// `{"enc":…,"kid":…,"n":…,"c":…}`
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Envelope<'a> {
    /// The method.
    pub(super) enc: Cow<'a, str>,
    /// The key's id.
    #[serde(borrow)]
    pub(super) kid: Cow<'a, str>,
    /// The nonce, in base64.
    #[serde(borrow)]
    pub(super) n: Cow<'a, str>,
    /// The cipher text and its tag, in base64.
    #[serde(borrow)]
    pub(super) c: Cow<'a, str>,
}

impl<'a> Envelope<'a> {
    /// None when the text is none.
    pub(super) fn read(stored: &'a str) -> Option<Self> {
        if !stored.starts_with(BEGINNING) {
            return None;
        }
        serde_json::from_str(stored).ok().filter(|envelope: &Self| envelope.enc == METHOD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_envelopes_are_taken_for_one() {
        let whole = r#"{"enc":"A256GCM-HS256","kid":"k","n":"AA","c":"AA"}"#;
        assert!(Envelope::read(whole).is_some_and(|envelope| envelope.kid == "k"));
        let written =
            serde_json::to_string(&Envelope { enc: METHOD.into(), kid: "k".into(), n: "AA".into(), c: "AA".into() });
        assert_eq!(written.unwrap(), whole);
        for other in [
            "1",
            "{}",
            r#"{"enc":"A256GCM-HS256","kid":"k"}"#,
            r#"{"enc":"A256GCM-HS256","kid":"k","n":"","c":"","d":1}"#,
        ] {
            assert!(Envelope::read(other).is_none(), "{other}");
        }
    }
}
