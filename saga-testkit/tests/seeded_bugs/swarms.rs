//! Many workers, from a few seeds, and what must hold.

use saga_testkit::swarm::Swarm;

#[test]
pub(crate) fn every_claim_is_known() {
    sail(0..40);
}

#[test]
pub(crate) fn what_callers_are_told_holds() {
    sail(40..240);
}

fn sail(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let voyage = Swarm::random().run(seed);
        if let Some(problem) = voyage.problem {
            panic!("seed {seed}: {problem}");
        }
    }
}
