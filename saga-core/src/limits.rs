//! Every bound of the engine in one place, with its unit, its default and the reason for it.

/// Limits that keep one saga from harming the others. Passing one is a typed error that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest input or output of a saga or step, in bytes of its encoded form. Default 1 MiB:
    /// above that a payload belongs in an object store and a reference to it in the saga.
    pub payload_max_bytes: usize,
    /// The longest start key, in bytes. Default 255: what an index entry takes comfortably.
    pub key_max_bytes: usize,
    /// The most turns that one saga's history may hold before retries end. Default 10,000: a
    /// compensation that is retried every quarter of an hour for three months.
    pub turns_max: u32,
    /// The most sagas that one worker keeps in flight. Default 4,096, at a few KiB each.
    pub in_flight_max: usize,
    /// The most turns that one commit carries. Default 1,000: past that a larger batch gains
    /// nothing and only makes the others wait longer.
    pub batch_max: usize,
    /// The most items that one step fans out over. Default 1,000: each has its own records in the saga's
    /// history, which is read whole when the saga is taken up again.
    pub items_max: usize,
    /// The longest error text that is journalled, in bytes; longer ones are cut. Default 2,048.
    pub error_max_bytes: usize,
    /// How often a step may take its worker down before the saga is dead-lettered as poison.
    /// Default 10: far above what deploys and outages do to one step, far below "for ever".
    pub crashes_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            payload_max_bytes: 1024 * 1024,
            key_max_bytes: 255,
            turns_max: 10_000,
            in_flight_max: 4_096,
            batch_max: 1_000,
            items_max: 1_000,
            error_max_bytes: 2_048,
            crashes_max: 10,
        }
    }
}
