//! Webhooks of the payment vendor: only what is signed is read, and what is read is written as it was.

use checkout_workflows::initiate::webhook::{SIGNATURE_HEADER, WebhookError, WebhookSecrets, sign, write};
use saga_core::Timestamp;

const SECRET: &[u8] = b"the secret of the fuzz targets";

/// The bytes as a body, properly signed; and the first line as a signature of the rest.
pub fn run(bytes: &[u8]) {
    let secrets = WebhookSecrets::new(SECRET).unwrap();
    let now = Timestamp::from_micros(1_767_225_600_000_000);
    let signature = sign(SECRET, now, bytes).unwrap();
    match secrets.open(&signature, bytes, now) {
        Ok(event) => {
            let body = write(&event).unwrap();
            let again = secrets.open(&sign(SECRET, now, &body).unwrap(), &body, now).unwrap();
            assert_eq!(again, event);
        }
        Err(error) => {
            let unproven = matches!(error, WebhookError::Header | WebhookError::Forged | WebhookError::Stale { .. });
            assert!(!unproven, "{SIGNATURE_HEADER}: {error}");
        }
    }
    let split = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    if let Ok(signature) = std::str::from_utf8(&bytes[..split]) {
        // Nobody guesses a signature.
        assert!(secrets.open(signature, &bytes[split..], now).is_err_and(|error| error.http_status() == 401));
    }
}
