//! Where a customer is: personal data, which may be sealed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A location, as a caller who knows the key made it. The stores never look inside.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Location {
    /// Readable.
    Plain(serde_json::Value),
    /// Encrypted, as text.
    Sealed(String),
}

/// Personal data do not go into logs.
impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain(…)",
            Self::Sealed(_) => "Sealed(…)",
        })
    }
}
