//! Random stages.

use std::time::Duration;

use fastrand::Rng;

use super::stage::Stage;
use crate::World;
use crate::random::{Part, Sketch};

/// How long an hour of a sketch lasts here.
const HOUR: Duration = Duration::from_millis(400);

/// One to three random definitions, and up to nine sagas of them: steps side by side and for each of a list,
/// decisions, waits, signals, locks that several want, events, children.
#[must_use]
pub fn random_stage(world: &World, seed: u64) -> Stage {
    let mut rng = Rng::with_seed(seed);
    let mut stage = Stage::new();
    for nth in 0..rng.usize(1..4) {
        let name = format!("sketch-{nth}");
        let sketch = sketch(&mut rng);
        let (definition, children) = sketch.draw(world, &name, HOUR);
        stage = children.iter().fold(stage.register(&definition), Stage::register);
        for saga in 0..rng.usize(1..4) {
            let key = format!("k{saga}");
            stage = stage.start(&definition, &key, rng.i64(0..100));
            let waits = sketch.before.contains(&Part::Signal);
            if waits || rng.u32(0..8) == 0 {
                for _ in 0..rng.usize(0..3) {
                    let payload = rng.i64(0..100);
                    // Nobody may signal what no step waits for. The dice are thrown all the same: a seed stays the
                    // world that it was.
                    if waits {
                        stage = stage.signal(&name, &key, "go", payload);
                    }
                }
            }
        }
    }
    stage
}

fn sketch(rng: &mut Rng) -> Sketch {
    let mut before: Vec<Part> = Vec::new();
    for _ in 0..rng.usize(1..5) {
        let part = part(rng);
        // One lock at most.
        if !(matches!(part, Part::Lock(_)) && before.iter().any(|other| matches!(other, Part::Lock(_)))) {
            before.push(part);
        }
    }
    let after = if rng.bool() { Some(rng.u8(0..3)) } else { None };
    Sketch { before, after, attempts: rng.u32(1..5) }
}

fn part(rng: &mut Rng) -> Part {
    match rng.u32(0..16) {
        0 => Part::Query,
        1 => Part::BestEffort,
        2 => Part::Parallel(rng.u8(2..4)),
        3 => Part::Items(rng.u8(0..3)),
        4 => Part::When(rng.bool()),
        5 => Part::Sleep(rng.u8(1..20)),
        6 => Part::Signal,
        7 => Part::Lock(rng.u8(0..2)),
        8..=10 => Part::Publish,
        11 | 12 => Part::Child(rng.u8(1..3)),
        _ => Part::Compensatable,
    }
}
