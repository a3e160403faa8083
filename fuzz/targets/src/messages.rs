//! Messages to sagas, as they are stored: what reads is written again as it was.

use saga_core::machine::Mail;

/// Reads the bytes as a message.
pub fn run(bytes: &[u8]) {
    let Ok(mail) = serde_json::from_slice::<Mail>(bytes) else { return };
    let again = serde_json::to_string(&mail).unwrap();
    assert_eq!(serde_json::from_str::<Mail>(&again).unwrap(), mail, "{again}");
}
