#![doc = include_str!("../README.md")]

#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "nats")]
pub mod nats;

#[cfg(feature = "http")]
pub use http::{HttpPublisher, HttpPublisherBuilder, Mode};
#[cfg(feature = "nats")]
pub use nats::{NatsPublisher, NatsPublisherBuilder};
