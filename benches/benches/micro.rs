//! The pure parts, by themselves: what a definition costs to build, a turn to write down and to read, a record to
//! apply, and the question what comes next; each with its allocations.
//!
//! `cargo bench -p benches --bench micro`.

#![allow(missing_docs, reason = "a program")]
#![expect(clippy::unwrap_used, reason = "a benchmark has nobody to report to")]

use benches::noop;
use divan::{AllocProfiler, Bencher, black_box};
use saga_core::journal::{Journal as _, MemoryJournal};
use saga_core::machine::{Record, SagaState, decode_turn, encode_turn};
use saga_core::{Definition, Engine, Timestamp};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const STEPS: [usize; 2] = [3, 9];

fn main() {
    divan::main();
}

/// A saga that has run.
struct Ran {
    definition: Definition<String, String>,
    bodies: Vec<String>,
    turns: Vec<Vec<Record>>,
}

impl Ran {
    fn of(steps: usize) -> Self {
        let definition = noop(steps).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let bodies = runtime.block_on(async {
            let journal = MemoryJournal::new();
            let engine = Engine::builder(journal.clone()).register(&definition).open().await.unwrap();
            let saga = engine.start(&definition, "ran", String::new()).await.unwrap();
            saga.outcome().await.unwrap();
            journal.load(&[saga.id()]).await.unwrap().remove(0).turns
        });
        let bodies: Vec<String> = bodies.into_iter().map(|stored| stored.body).collect();
        let turns = bodies.iter().map(|body| decode_turn(body).unwrap()).collect();
        Self { definition, bodies, turns }
    }

    fn begun(&self) -> SagaState {
        let first = self.turns.first().and_then(|turn| turn.first()).unwrap();
        SagaState::started(self.definition.plan(), first, Timestamp::from_micros(0)).unwrap()
    }

    /// All records but the start.
    fn records(&self) -> impl Iterator<Item = &Record> {
        self.turns.iter().flatten().skip(1)
    }
}

#[divan::bench(args = STEPS)]
fn build_a_definition(steps: usize) {
    black_box(noop(black_box(steps)).unwrap());
}

#[divan::bench(args = STEPS)]
fn encode_all_turns_of_a_saga(bencher: Bencher<'_, '_>, steps: usize) {
    let ran = Ran::of(steps);
    bencher.bench_local(|| ran.turns.iter().map(|turn| encode_turn(turn).unwrap().len()).sum::<usize>());
}

#[divan::bench(args = STEPS)]
fn decode_all_turns_of_a_saga(bencher: Bencher<'_, '_>, steps: usize) {
    let ran = Ran::of(steps);
    bencher.bench_local(|| ran.bodies.iter().map(|body| decode_turn(body).unwrap().len()).sum::<usize>());
}

#[divan::bench(args = STEPS)]
fn apply_all_records_of_a_saga(bencher: Bencher<'_, '_>, steps: usize) {
    let ran = Ran::of(steps);
    bencher.with_inputs(|| ran.begun()).bench_local_values(|mut state| {
        for record in ran.records() {
            state.apply(ran.definition.plan(), record).unwrap();
        }
        state
    });
}

#[divan::bench(args = STEPS)]
fn ask_what_comes_next_before_each_record(bencher: Bencher<'_, '_>, steps: usize) {
    let ran = Ran::of(steps);
    bencher.with_inputs(|| ran.begun()).bench_local_values(|mut state| {
        for record in ran.records() {
            black_box(state.next(ran.definition.plan(), Timestamp::from_micros(1)));
            state.apply(ran.definition.plan(), record).unwrap();
        }
        state
    });
}
