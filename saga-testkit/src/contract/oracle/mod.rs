//! The oracle: random lives of a journal, call by call, and the answer to each beside what a small model says.
//!
//! The model is plain lists that are read from end to end, without an index and without a cache. It is written from
//! the contract's words, and shares no line with the journal in memory, which is one of those that are judged by it.
//! Where the contract leaves a journal its choice (which of two sagas that are due alike a claim takes, how far an answer
//! goes that has a limit), the model says whether the choice was a legal one, and goes on from there.
//!
//! `SAGA_SEEDS` sets the number of lives, and `SAGA_SEED` replays one. A life in which an answer differs is cut down to
//! the calls that matter before it is told.

mod call;
mod draw;
mod life;
mod model;
mod shrink;

use super::Fixture;

/// How many lives.
const LIVES: u64 = 12;
/// How many operations in each.
const OPERATIONS: usize = 70;

/// Every answer to every call, by workers whose leases lapse, go and are used again, is the model's.
pub async fn every_answer_is_the_models(fixture: &impl Fixture) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let lives = number("SAGA_SEEDS").unwrap_or(LIVES);
    let seeds = number("SAGA_SEED").map_or(0..lives, |only| only..only + 1);
    let mut tally = life::Tally::default();
    for seed in seeds {
        let operations = draw::operations(seed, OPERATIONS);
        let Err(difference) = life::live(fixture, &operations, &mut tally).await else { continue };
        let (calls, difference) = shrink::smallest(fixture, operations, difference).await;
        panic!("SAGA_SEED={seed}: {calls} operations lead to another answer than the model's\n{difference}");
    }
    println!("{tally}");
    assert!(tally.lives() < LIVES || tally.is_rich(), "the lives are poor: {tally}");
}
