//! Outlines of definitions, as they are stored: what reads is written again as it was, and differs in nothing from itself.

use saga_core::definition::Outline;

/// Reads the bytes as an outline.
pub fn run(bytes: &[u8]) {
    let Ok(outline) = serde_json::from_slice::<Outline>(bytes) else { return };
    let again: Outline = serde_json::from_str(&serde_json::to_string(&outline).unwrap()).unwrap();
    assert_eq!(again, outline);
    assert_eq!(again.fingerprint(), outline.fingerprint());
    assert!(outline.diff(&again).is_empty());
}
