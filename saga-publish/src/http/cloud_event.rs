//! An event as a CloudEvent.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use saga_core::publish::{OutgoingEvent, PublishError};
use serde_json::value::RawValue;

/// What CloudEvents keeps for itself.
const RESERVED: [&str; 10] =
    ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data", "data_base64"];

/// The attributes of an event, extensions included, and its payload.
pub(super) struct CloudEvent<'a> {
    attributes: BTreeMap<String, &'a str>,
    event_type: String,
    saga: String,
    payload: &'a str,
}

impl<'a> CloudEvent<'a> {
    pub(super) fn of(event: &'a OutgoingEvent, source: &'a str, type_prefix: &str) -> Result<Self, PublishError> {
        if event.id.is_empty() || event.topic.is_empty() {
            return Err(PublishError::rejected("an event needs an id and a topic"));
        }
        let mut attributes = BTreeMap::from([
            ("specversion".to_owned(), "1.0"),
            ("id".to_owned(), event.id.as_str()),
            ("source".to_owned(), source),
        ]);
        for (name, value) in &event.headers {
            let extension = extension(name);
            if extension.is_empty() || RESERVED.contains(&extension.as_str()) {
                return Err(PublishError::rejected(format!(
                    "the header {name:?} cannot be an extension of CloudEvents"
                )));
            }
            if attributes.insert(extension, value).is_some() {
                return Err(PublishError::rejected(format!("the header {name:?} has the same name as another one")));
            }
        }
        let event_type = format!("{type_prefix}{}", event.topic);
        Ok(Self { attributes, event_type, saga: event.saga.to_string(), payload: &event.payload })
    }

    /// All attributes but `datacontenttype`, which binary mode says otherwise.
    fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        let named = [("type", self.event_type.as_str()), ("subject", self.saga.as_str())];
        self.attributes.iter().map(|(name, value)| (name.as_str(), *value)).chain(named)
    }

    /// The body in structured mode.
    pub(super) fn structured(&self) -> Result<String, PublishError> {
        let no_json = |error| PublishError::rejected("its payload is no JSON text").caused_by(Position::of(&error));
        let data: &RawValue = serde_json::from_str(self.payload).map_err(no_json)?;
        let mut body = BTreeMap::new();
        for (name, value) in self.attributes().chain([("datacontenttype", "application/json")]) {
            body.insert(name, serde_json::value::to_raw_value(value).map_err(no_json)?);
        }
        body.insert("data", data.to_owned());
        serde_json::to_string(&body).map_err(no_json)
    }

    /// The headers in binary mode.
    pub(super) fn headers(&self) -> Result<HeaderMap, PublishError> {
        let mut headers = HeaderMap::new();
        for (name, value) in self.attributes() {
            let unusable = || PublishError::rejected(format!("HTTP cannot carry the attribute {name:?}"));
            let parsed = format!("ce-{name}").parse::<HeaderName>().map_err(|_| unusable())?;
            headers.insert(parsed, HeaderValue::from_str(&escaped(value)).map_err(|_| unusable())?);
        }
        Ok(headers)
    }
}

/// Where a payload stops being JSON. serde's own words would quote it.
#[derive(Debug, thiserror::Error)]
#[error("at line {line}, column {column}")]
struct Position {
    line: usize,
    column: usize,
}

impl Position {
    fn of(error: &serde_json::Error) -> Self {
        Self { line: error.line(), column: error.column() }
    }
}

/// The name of a header as CloudEvents wants names: lower-case ASCII letters and digits.
fn extension(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// As the HTTP binding of CloudEvents wants header values: space, double quote, percent, and what is not
/// printable ASCII as percent and two digits for each byte.
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'%') {
            escaped.push(char::from(byte));
        } else {
            let _infallible = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use saga_core::SagaId;

    use super::*;

    fn event(headers: &[(&str, &str)]) -> OutgoingEvent {
        OutgoingEvent {
            id: "e-1".to_owned(),
            topic: "paid".to_owned(),
            saga: SagaId::new(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            payload: r#"{"cents":1.0}"#.to_owned(),
            attempt: 1,
        }
    }

    #[test]
    fn a_payload_is_passed_on_as_it_was_written() {
        let event = event(&[("Correlation-Id", "c")]);
        let body = CloudEvent::of(&event, "/s", "shop.").unwrap().structured().unwrap();
        assert!(body.contains(r#""data":{"cents":1.0}"#), "{body}");
        assert!(body.contains(r#""correlationid":"c""#) && body.contains(r#""type":"shop.paid""#), "{body}");
    }

    #[test]
    fn headers_that_cannot_be_extensions_are_rejected() {
        for headers in [&[("Data", "x")][..], &[("--", "x")], &[("a-b", "x"), ("ab", "y")], &[("ID", "x")]] {
            let event = event(headers);
            assert!(CloudEvent::of(&event, "/s", "").is_err_and(|error| !error.is_transient()), "{headers:?}");
        }
    }

    #[test]
    fn header_values_are_escaped_as_the_binding_says() {
        assert_eq!(escaped("Euro € 😀"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
        assert_eq!(escaped("100%\"\r\n"), "100%25%22%0D%0A");
    }

    #[test]
    fn a_payload_that_is_no_json_is_rejected_without_quoting_it() {
        let event = OutgoingEvent { payload: "secret".to_owned(), ..event(&[]) };
        let error = CloudEvent::of(&event, "/s", "").unwrap().structured().unwrap_err();
        assert!(!error.is_transient());
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
}
