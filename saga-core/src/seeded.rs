//! Seeded bugs: defects that are built in on purpose, to prove that the tests find them.
//!
//! Each is one line at the place that it spoils, `if seeded("M6") …`. Without the feature `seeded-bugs` this is the
//! constant `false`, and nothing of it is compiled in. With the feature, which no build with optimisations takes, a bug
//! is there in a process that was started with `SAGA_SEEDED_BUG=M6` in its environment, and in no other.
//! `reliability/seeded_bugs.md` lists them all.

/// Whether this bug is built in: never.
#[cfg(not(feature = "seeded-bugs"))]
#[inline]
pub(crate) const fn seeded(_bug: &str) -> bool {
    false
}

#[cfg(all(feature = "seeded-bugs", not(debug_assertions)))]
compile_error!("the feature `seeded-bugs` builds defects in: it is for tests, and for debug builds alone");

/// Whether this bug is built in: only in a process that was started with its name in `SAGA_SEEDED_BUG`.
#[cfg(feature = "seeded-bugs")]
#[must_use]
pub fn seeded(bug: &str) -> bool {
    use std::sync::OnceLock;
    static CHOSEN: OnceLock<Option<String>> = OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("SAGA_SEEDED_BUG").ok()).as_deref() == Some(bug)
}
