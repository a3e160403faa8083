//! What the benchmarks share: no-op sagas, a counting journal, the measuring loop, and who is compared.

mod chart;
mod comparison;
mod counting;
mod cpu;
mod figures;
mod floor;
mod load;
mod noop;
mod payload;
mod peers;
mod probe;
pub mod reach;
mod report;
mod server;

pub use chart::{Case as ChartCase, draw};
pub use comparison::{COMMIT_PER_STEP, Case, FLOOR, OURS, Record, compared, report};
pub use counting::{Calls, Counting};
pub use cpu::Cpu;
pub use figures::Figures;
pub use floor::{Floor, Pace};
pub use load::{Load, Measured, measure};
pub use noop::{noop, run_saga};
pub use payload::RESULT;
pub use peers::{Peer, Peers};
pub use probe::{Mark, Probe, ServerCounts};
pub use report::{Row, print_json, print_table};
pub use server::start_server;
