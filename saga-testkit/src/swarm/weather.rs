//! What the seed has in store: how many workers there are, how fast the network is, and how often what goes wrong.

use std::time::Duration;

use fastrand::Rng;

/// How a run is set up. Each kind of fault is there in some runs and not in others, so that none hides another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    pub(super) workers: usize,
    pub(super) lease: Duration,
    pub(super) poll: Duration,
    /// How long a call to the journal takes, one way, at most.
    pub(super) delay: Duration,
    /// One call in so many fails; never when it is 0.
    pub(super) fail_one_in: u32,
    /// One call in so many takes longer than a lease, one way.
    pub(super) stall_one_in: u32,
    /// One call in so many ends its process.
    pub(super) crash_one_in: u32,
    /// One attempt, call of a fake, or event in so many goes wrong.
    pub(super) dice_one_in: u32,
    /// One event in so many goes wrong at the broker, beside those.
    pub(super) event_one_in: u32,
    /// One claim in so many that took sagas is not answered.
    pub(super) claim_one_in: u32,
    /// How often a worker is frozen, killed, or stopped from outside.
    pub(super) blows: u32,
    /// Whether workers take their leases for longer, or shorter, than they are.
    pub(super) skewed: bool,
}

impl Weather {
    pub(super) fn of(rng: &mut Rng) -> Self {
        let lease = Duration::from_millis(rng.u64(300..3_000));
        let mut sometimes = |rates: std::ops::Range<u32>| if rng.u32(0..4) == 0 { 0 } else { rng.u32(rates) };
        let (fail_one_in, stall_one_in) = (sometimes(5..60), sometimes(40..300));
        let (crash_one_in, dice_one_in, blows) = (sometimes(40..300), sometimes(2..15), sometimes(1..8));
        let (event_one_in, claim_one_in) = (sometimes(2..8), sometimes(2..8));
        Self {
            workers: rng.usize(2..5),
            lease,
            poll: Duration::from_millis(rng.u64(50..600)),
            delay: Duration::from_millis([1, 10, 60, 250][rng.usize(0..4)]),
            fail_one_in,
            stall_one_in,
            crash_one_in,
            dice_one_in,
            event_one_in,
            claim_one_in,
            blows,
            skewed: rng.bool(),
        }
    }
}
