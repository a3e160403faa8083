//! Topics as NATS subjects.

use std::fmt::Write as _;

/// Whether subjects can begin so; empty is none.
pub(super) fn is_prefix(prefix: &str) -> bool {
    prefix.is_empty() || prefix.split('.').all(|token| !token.is_empty() && !token.chars().any(is_special))
}

/// What no token may hold.
fn is_special(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '*' | '>')
}

/// The subject of a topic; none when the topic is empty.
pub(super) fn of(prefix: &str, topic: &str) -> Option<String> {
    if topic.is_empty() {
        return None;
    }
    let mut subject = prefix.to_owned();
    if !prefix.is_empty() {
        subject.push('.');
    }
    let mut token_begins = true;
    let mut rest = topic.chars().peekable();
    while let Some(c) = rest.next() {
        let ends_nothing = c == '.' && (token_begins || rest.peek().is_none());
        let reserved = c == '$' && subject.is_empty();
        if ends_nothing || reserved || c == '%' || is_special(c) {
            escape(c, &mut subject);
            token_begins = false;
        } else {
            subject.push(c);
            token_begins = c == '.';
        }
    }
    Some(subject)
}

fn escape(c: char, subject: &mut String) {
    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
        let _infallible = write!(subject, "%{byte:02X}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_is_a_subject_stays_as_it_is() {
        assert_eq!(of("shop", "line_items_updated").unwrap(), "shop.line_items_updated");
        assert_eq!(of("a.b", "orders.eu.created").unwrap(), "a.b.orders.eu.created");
        assert_eq!(of("", "größe").unwrap(), "größe");
        assert!(of("shop", "").is_none());
    }

    #[test]
    fn what_a_subject_cannot_hold_is_escaped() {
        assert_eq!(of("s", "a b*>").unwrap(), "s.a%20b%2A%3E");
        assert_eq!(of("s", ".a..b.").unwrap(), "s.%2Ea.%2Eb%2E");
        assert_eq!(of("s", "...").unwrap(), "s.%2E.%2E");
        assert_eq!(of("", "$JS.API").unwrap(), "%24JS.API");
        assert_eq!(of("s", "line\r\nbreak\u{2028}").unwrap(), "s.line%0D%0Abreak%E2%80%A8");
    }

    #[test]
    fn different_topics_have_different_subjects() {
        let topics = ["a", "a.", "a%2E", ".a", "a b", "a%20b", "a_b", "a..b", "a.b", "a.%2Eb", "."];
        let subjects: std::collections::BTreeSet<_> = topics.iter().map(|topic| of("s", topic)).collect();
        assert_eq!(subjects.len(), topics.len());
        for subject in subjects.into_iter().flatten() {
            assert!(subject.split('.').all(|token| !token.is_empty()), "{subject}");
        }
    }

    #[test]
    fn a_prefix_is_a_subject_or_nothing() {
        for good in ["", "a", "a.b-c"] {
            assert!(is_prefix(good), "{good}");
        }
        for bad in [".", "a.", ".a", "a..b", "a b", "*", "a.>"] {
            assert!(!is_prefix(bad), "{bad}");
        }
    }
}
