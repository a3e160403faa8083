#![doc = include_str!("../README.md")]

pub mod contract;
pub mod explore;
pub mod faults;
mod invariant;
pub mod nats;
pub mod postgres;
pub mod publisher;
pub mod random;
#[cfg(feature = "seeded-bugs")]
pub mod seeded;
mod sim;
pub mod swarm;
mod test_engine;
mod world;
pub mod zombie;

pub use explore::{Depth, Ending, Explore, ExploreError, Explored, Scene, Violation, explore};
pub use invariant::{Invariant, Problem};
pub use sim::{Applied, BadSeed, Effect, Fate, Point, Schedule, Stop};
pub use test_engine::TestEngine;
pub use world::{CallFailed, World};
