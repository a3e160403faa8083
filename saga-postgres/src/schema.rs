//! The name of the journal's schema: parsed once, quoted once.

use saga_core::journal::JournalError;

/// A schema name that needs no further thought: letters, digits and underscores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SchemaName(String);

impl SchemaName {
    pub(crate) fn parse(name: &str) -> Result<Self, JournalError> {
        let mut letters = name.chars();
        let starts_well = letters.next().is_some_and(|first| first.is_ascii_lowercase() || first == '_');
        let goes_on_well = letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if starts_well && goes_on_well && name.len() <= 63 && !name.starts_with("pg_") {
            return Ok(Self(name.to_owned()));
        }
        Err(JournalError::Misconfigured {
            problem: format!(
                "the schema name {name:?} must have 1 to 63 lower-case letters, digits and underscores, \
                 not begin with a digit, and not begin with pg_"
            ),
            source: None,
        })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Puts the quoted name in place of `{schema}`.
    pub(crate) fn render(&self, sql: &str) -> String {
        sql.replace("{schema}", &format!("\"{}\"", self.0))
    }

    /// The channel on which workers are woken.
    pub(crate) fn channel(&self) -> String {
        format!("saga_work_{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_names_are_taken() {
        for name in ["saga", "_x", "a1_b"] {
            assert!(SchemaName::parse(name).is_ok(), "{name}");
        }
        for name in ["", "1a", "A", "a-b", "a\"b", "a;drop", "pg_x", &"a".repeat(64)] {
            assert!(SchemaName::parse(name).is_err(), "{name}");
        }
    }
}
