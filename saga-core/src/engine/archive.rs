//! The archive hook: what becomes of ended sagas before they are deleted.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::journal::History;

/// Keeps the histories of ended sagas elsewhere before the journal forgets them.
///
/// ```
/// use saga_core::engine::Archive;
/// use saga_core::{async_trait, journal::History};
///
/// #[derive(Debug)]
/// struct Shelf;
///
/// #[async_trait]
/// impl Archive for Shelf {
///     async fn keep(&self, histories: &[History]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
///         histories.iter().for_each(|saga| println!("{} with {} turns", saga.header.key, saga.turns.len()));
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait Archive: Debug + Send + Sync + 'static {
    /// Takes the histories, durably, before it returns. It may be given the same one again, after a
    /// crash. After an error or a panic none of them is deleted, and all are offered again later.
    async fn keep(&self, histories: &[History]) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}
