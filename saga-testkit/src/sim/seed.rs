//! Schedules as one line of text.

use std::fmt::Write as _;

/// A text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not part of a schedule; a seed reads like `v1:run:authorize#1=refused,write#7=crash-before`")]
pub struct BadSeed {
    text: String,
}

impl BadSeed {
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.to_owned() }
    }
}

/// Writes a name so that it holds nothing that means something in a seed.
pub(crate) fn escape(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_whitespace() || c.is_control() || matches!(c, '%' | ',' | '=' | '#' | '"' | '\\') {
            // Writing to a text does not fail.
            write!(text, "%{:x};", u32::from(c)).ok();
        } else {
            text.push(c);
        }
    }
    text
}

/// Reads what [`escape`] wrote.
pub(crate) fn unescape(text: &str) -> Result<String, BadSeed> {
    let mut name = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        name.push_str(before);
        let (code, behind) = after.split_once(';').ok_or_else(|| BadSeed::new(text))?;
        let c = u32::from_str_radix(code, 16).ok().and_then(char::from_u32);
        name.push(c.ok_or_else(|| BadSeed::new(text))?);
        rest = behind;
    }
    name.push_str(rest);
    Ok(name)
}
