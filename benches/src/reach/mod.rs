//! The reaches of performance: what holds under a schedule, over long times, on full tables, over several processes
//! and after a crash. One scenario a file.

mod arena;
mod child;
mod claim;
mod fair;
mod fill;
mod finding;
mod history;
mod memory;
mod open_loop;
mod outbox;
mod publish_lag;
mod recovery;
mod resident;
mod role;
mod settings;
mod soak;
mod statistics;
mod transactional;
mod workers;

pub use finding::{Finding, Goal, print_findings};
pub use memory::{Weights, measure as measure_memory};
pub use role::Role;
pub use settings::{Scenario, Settings};

/// What goes wrong in a scenario ends it.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Runs one scenario.
///
/// # Errors
/// When it could not be measured.
pub async fn run(scenario: Scenario, settings: &Settings, bar: &indicatif::ProgressBar) -> Outcome<Vec<Finding>> {
    // Each is a large future, and only one is under way.
    match scenario {
        Scenario::Fair => Box::pin(fair::run(settings, bar)).await,
        Scenario::Workers => Box::pin(workers::run(settings, bar)).await,
        Scenario::Claim => Box::pin(claim::run(settings, bar)).await,
        Scenario::History => Box::pin(history::run(settings, bar)).await,
        Scenario::Recovery => Box::pin(recovery::run(settings, bar)).await,
        Scenario::Memory => Box::pin(memory::run(settings, bar)).await,
        Scenario::Soak => Box::pin(soak::run(settings, bar)).await,
        Scenario::Transactional => Box::pin(transactional::run(settings, bar)).await,
        Scenario::Outbox => Box::pin(outbox::run(settings, bar)).await,
    }
}
