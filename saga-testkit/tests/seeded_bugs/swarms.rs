//! Many workers, from a few seeds, and what must hold.

use saga_testkit::swarm::Swarm;

#[test]
pub(crate) fn every_claim_is_known() {
    for seed in 0..40 {
        let voyage = Swarm::random().run(seed);
        if let Some(problem) = voyage.problem {
            panic!("seed {seed}: {problem}");
        }
    }
}
