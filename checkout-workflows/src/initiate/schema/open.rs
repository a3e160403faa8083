//! Objects that the document leaves open.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An object that the document leaves open, such as a location: kept as it came.
///
/// It may hold personal data, so that its `Debug` names the fields only.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = Object))]
pub struct OpenObject(pub Map<String, Value>);

impl OpenObject {
    /// Whether it has no fields.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for OpenObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
