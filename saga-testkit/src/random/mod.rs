//! Random definitions, inputs and schedules, for property tests with [`proptest`].
//!
//! ```
//! use proptest::prelude::*;
//! use saga_testkit::random::{Sketch, schedules, sketches};
//! use saga_testkit::{Scene, World, explore};
//!
//! proptest!(ProptestConfig::with_cases(10), |(
//!     (sketch, schedule) in sketches().prop_flat_map(|sketch| (Just(sketch.clone()), schedules(&sketch, 4))),
//!     input in 0i64..100,
//! )| {
//!     let scene = async |world: World| Scene::new(sketch.definition(&world), input);
//!     let followed = explore(scene).follow(&schedule);
//!     prop_assert!(followed.is_ok(), "{}", followed.unwrap_err());
//! });
//! ```

mod honest;
pub mod model;
mod schedules;
mod sketch;

pub use honest::Honest;
pub use schedules::schedules;
pub use sketch::{Part, Sketch, sketches};
