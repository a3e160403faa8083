//! Payloads under the encrypting codec: what is sealed opens where it was sealed, and nothing else does.

use std::borrow::Cow;

use saga_core::Payload;
use saga_core::codec::{Codec as _, Json};

use crate::world;

/// Opens the first line as a stored payload, at the place that the second line names; and seals it.
pub fn run(bytes: &[u8]) {
    let Some(lines) = crate::lines(bytes) else { return };
    let (stored, place) = (lines[0], lines.get(1).copied().unwrap_or_default().as_bytes());
    let codec = world::codec();
    if let Ok(Cow::Owned(opened)) = codec.open(stored, place) {
        // Only what this key has sealed opens; what is no envelope comes back as it is.
        assert_eq!(codec.open(&codec.seal(&opened, place).unwrap(), place).unwrap(), opened);
    }
    if let Ok(plain) = Json.open(stored, place) {
        assert_eq!(plain, stored);
    }
    if Payload::from_json(stored.to_owned()).is_ok() {
        let sealed = codec.seal(stored, place).unwrap();
        assert_eq!(codec.open(&sealed, place).unwrap(), stored);
        let elsewhere = [place, b"!"].concat();
        assert!(codec.open(&sealed, &elsewhere).is_err(), "it opens elsewhere");
        assert!(Json.open(&sealed, place).is_err(), "it is taken for plain");
    }
}
