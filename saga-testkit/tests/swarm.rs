//! Many workers, one journal, everything goes wrong, and all of it from one seed.

use saga_testkit::swarm::{Swarm, Tally};

/// Seeds that have failed once, replayed first.
fn failing_seeds() -> Vec<u64> {
    let lines = include_str!("../../reliability/failing_seeds.txt").lines();
    lines.filter_map(|line| line.split('#').next()?.trim().parse().ok()).collect()
}

#[test]
fn no_seed_breaks_an_invariant_and_everything_that_can_go_wrong_does() {
    let swarm = Swarm::random();
    let mut tally = Tally::default();
    for seed in failing_seeds().into_iter().chain(0..200) {
        let voyage = swarm.run(seed);
        assert!(voyage.problem.is_none(), "{voyage}");
        tally.add(&voyage);
    }
    assert_eq!(tally.missing(), [""; 0], "{tally:#?}");
}

#[test]
fn a_seed_makes_the_same_run_again() {
    let swarm = Swarm::random();
    for seed in 1_000..1_025 {
        let (once, again) = (swarm.run(seed), swarm.run(seed));
        let differs = || once.story.iter().zip(&again.story).find(|(one, other)| one != other);
        assert_eq!(once.digest(), again.digest(), "seed {seed}: {:?}", differs());
    }
}
