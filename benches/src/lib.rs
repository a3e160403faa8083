//! What the benchmarks share: no-op sagas, a counting journal, and the measuring loop.

mod counting;
mod load;
mod noop;
mod report;

pub use counting::{Calls, Counting};
pub use load::{Measured, measure};
pub use noop::noop;
pub use report::{Row, print_json, print_table};
