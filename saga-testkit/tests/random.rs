//! Random definitions on random schedules, and the engine against its model.

#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use proptest_state_machine::prop_state_machine;
use saga_testkit::random::model::Machine;
use saga_testkit::random::{schedules, sketches};
use saga_testkit::{Scene, World, explore};

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_random_saga_breaks_an_invariant_on_a_random_schedule(
        (sketch, schedule) in sketches().prop_flat_map(|sketch| (Just(sketch.clone()), schedules(&sketch, 6))),
        input in -10i64..10,
    ) {
        let scene = async |world: World| Scene::new(sketch.definition(&world), input);
        let followed = explore(scene).follow(&schedule);
        prop_assert!(followed.is_ok(), "{}", followed.unwrap_err());
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_does_what_its_model_says(sequential 1..40 => Machine);
}
