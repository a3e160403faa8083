//! Where requests go.

use std::fmt;

use reqwest::Url;
use saga_core::publish::PublishError;

/// One URL for everything, or one for each topic.
#[derive(Clone)]
pub(super) enum Target {
    Url(Url),
    /// Ends in `/v1.0/publish/{pubsub}`.
    Dapr(Url),
}

impl Target {
    /// None when a path cannot follow the address.
    pub(super) fn new(mut address: Url, pubsub: Option<&str>) -> Option<Self> {
        let Some(pubsub) = pubsub else { return Some(Self::Url(address)) };
        if !is_segment(pubsub) {
            return None;
        }
        address.path_segments_mut().ok()?.pop_if_empty().extend(["v1.0", "publish", pubsub]);
        Some(Self::Dapr(address))
    }

    pub(super) fn url(&self, topic: &str) -> Result<Url, PublishError> {
        match self {
            Self::Url(url) => Ok(url.clone()),
            Self::Dapr(base) => {
                let mut url = base.clone();
                let unusable = || PublishError::rejected("its topic cannot be a segment of a path");
                // A slash is escaped; a dot segment would lead elsewhere.
                url.path_segments_mut().ok().filter(|_| is_segment(topic)).ok_or_else(unusable)?.push(topic);
                Ok(url)
            }
        }
    }
}

fn is_segment(text: &str) -> bool {
    !matches!(text, "" | "." | "..")
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Url(url) | Self::Dapr(url)) = self;
        // Neither user nor password nor query.
        write!(f, "{}://{}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dapr(base: &str) -> Target {
        Target::new(Url::parse(base).unwrap(), Some("orders")).unwrap()
    }

    #[test]
    fn a_topic_is_one_segment_of_the_path() {
        let url = |topic: &str| dapr("http://127.0.0.1:3500/").url(topic).map(|url| url.to_string());
        assert_eq!(url("created").unwrap(), "http://127.0.0.1:3500/v1.0/publish/orders/created");
        assert_eq!(url("a/b c?d").unwrap(), "http://127.0.0.1:3500/v1.0/publish/orders/a%2Fb%20c%3Fd");
        for bad in ["", ".", ".."] {
            assert!(url(bad).is_err_and(|error| !error.is_transient()), "{bad}");
        }
        assert_eq!(dapr("http://h/x").url("t").unwrap().path(), "/x/v1.0/publish/orders/t");
    }

    #[test]
    fn debug_shows_no_secrets() {
        let target = Target::new(Url::parse("https://ann:pass@h/hook?token=t").unwrap(), None).unwrap();
        assert_eq!(format!("{target:?}"), "https://h/hook");
    }
}
