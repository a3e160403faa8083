//! What each step leaves. The peers leave the same.

/// As long as the result of a small call.
pub const RESULT: &str =
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456";
