//! What the benchmarks share: no-op sagas, a counting journal, and the measuring loop.

mod chart;
mod counting;
mod cpu;
mod floor;
mod load;
mod noop;
mod report;

pub use chart::{Case, draw};
pub use counting::{Calls, Counting};
pub use cpu::Cpu;
pub use floor::Floor;
pub use load::{Measured, measure, run_saga};
pub use noop::noop;
pub use report::{Row, print_json, print_table};
