//! Seeded bugs of the workflows: see `saga-core/src/seeded.rs`.

#[cfg(feature = "seeded-bugs")]
pub(crate) use saga_core::seeded::seeded;

/// Whether this bug is built in: never.
#[cfg(not(feature = "seeded-bugs"))]
#[inline]
pub(crate) const fn seeded(_bug: &str) -> bool {
    false
}
