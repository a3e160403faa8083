//! The main job: some hundred checkouts, with faults, while its own workers are killed; and then an
//! audit from the outside.

pub mod audit;
pub mod carts;
pub mod processes;
pub mod run;
pub mod worker;

/// Anything that stops the job.
pub type JobError = Box<dyn std::error::Error + Send + Sync>;
