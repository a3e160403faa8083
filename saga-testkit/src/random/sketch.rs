//! Definitions as data.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use saga_core::{Definition, Event, RetryPolicy, SagaBuilder, Source as _, StepHandle, definition, step_fn};

use super::honest::Honest;
use crate::World;

/// What an hour lasts.
const HOUR: Duration = Duration::from_secs(3_600);

/// A definition as data: what there is before the pivot, and what after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sketch {
    /// Up to the pivot.
    pub before: Vec<Part>,
    /// Whether there is a pivot, and how many steps come after it.
    pub after: Option<u8>,
    /// How often each step is tried.
    pub attempts: u32,
}

/// A part of a [`Sketch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A step that is undone.
    Compensatable,
    /// A step that only reads.
    Query,
    /// A step that may fail, and is undone.
    BestEffort,
    /// So many steps side by side.
    Parallel(u8),
    /// A step for each of so many items.
    Items(u8),
    /// A step that is taken, or not.
    When(bool),
    /// Some hours of waiting.
    Sleep(u8),
    /// An hour at most of waiting for the signal of this name, `go`.
    Signal,
    /// The entity of this number, of which there are a few, is locked. One in a definition.
    Lock(u8),
    /// An event.
    Publish,
    /// A saga of its own, with so many steps.
    Child(u8),
}

/// Sketches of sound definitions, with two to a dozen steps.
pub fn sketches() -> impl Strategy<Value = Sketch> + Clone {
    let part = prop_oneof![
        4 => Just(Part::Compensatable),
        1 => Just(Part::Query),
        1 => Just(Part::BestEffort),
        1 => (2u8..4).prop_map(Part::Parallel),
        1 => (0u8..3).prop_map(Part::Items),
        1 => any::<bool>().prop_map(Part::When),
        1 => (1u8..48).prop_map(Part::Sleep),
    ];
    (vec(part, 1..5), proptest::option::of(0u8..3), 1u32..4).prop_map(|(before, after, attempts)| Sketch {
        before,
        after,
        attempts,
    })
}

impl Sketch {
    /// The definition, its steps [`Honest`] ones in this world. They are called `s0`, `s1` …, in the order of
    /// their declaration.
    ///
    /// # Panics
    /// Never: every sketch is a sound definition.
    #[must_use]
    pub fn definition(&self, world: &World) -> Definition<i64, i64> {
        self.draw(world, "sketch", HOUR).0
    }

    /// The same under this name, with hours that last so long; and the definitions of its children.
    ///
    /// # Panics
    /// When it has two locks: every other sketch is a sound definition.
    #[must_use]
    pub fn draw(&self, world: &World, name: &str, hour: Duration) -> (Definition<i64, i64>, Vec<Definition<i64, i64>>) {
        let mut children = Vec::new();
        let built = Definition::build(name, 1, |saga, input| {
            let start = saga.query("start", step_fn(async |_, n: i64| Ok(n)), input);
            let children = &mut children;
            let mut drawing = Drawing { world, of: name, hour, retry: self.retry(), next: 0, children };
            self.before.iter().for_each(|part| drawing.draw(saga, *part, start));
            let end = self.after.map(|after| {
                let (name, step) = drawing.step();
                let done = saga.pivot(&name, step, start).retry(drawing.retry.clone());
                for _ in 0..after {
                    let (name, step) = drawing.step();
                    let _ = saga.retryable(&name, step, start).retry(drawing.retry.clone());
                }
                done
            });
            match end {
                Some(end) => saga.returns(end),
                None => saga.returns(start),
            }
        });
        (built.unwrap_or_else(|problem| panic!("{self:?} is no sound definition: {problem}")), children)
    }

    /// How many steps it has that do something.
    #[must_use]
    pub fn steps(&self) -> usize {
        let size = |part: &Part| match part {
            Part::Parallel(branches) => usize::from(*branches),
            Part::Compensatable
            | Part::Query
            | Part::BestEffort
            | Part::Items(_)
            | Part::When(_)
            | Part::Sleep(_)
            | Part::Signal
            | Part::Lock(_)
            | Part::Publish
            | Part::Child(_) => 1,
        };
        let before: usize = self.before.iter().map(size).sum();
        before + self.after.map_or(0, |after| 1 + usize::from(after))
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy::fixed(Duration::from_secs(1)).attempts(self.attempts)
    }
}

struct Drawing<'a> {
    world: &'a World,
    of: &'a str,
    hour: Duration,
    retry: RetryPolicy,
    next: usize,
    children: &'a mut Vec<Definition<i64, i64>>,
}

impl Drawing<'_> {
    fn step(&mut self) -> (String, Honest) {
        let name = format!("s{}", self.next);
        self.next += 1;
        let step = Honest::new(self.world, &format!("{name} done"));
        (name, step)
    }

    /// A definition with so many steps, all of which can be undone.
    fn child(&self, name: &str, steps: u8) -> Definition<i64, i64> {
        let of = format!("{}-{name}", self.of);
        let built = Definition::build(&of, 1, |saga, input| {
            for step in 0..steps {
                let honest = Honest::new(self.world, &format!("{name}.{step} done"));
                let _ = saga.compensatable(&format!("c{step}"), honest, input).retry(self.retry.clone());
            }
            saga.returns(input)
        });
        built.unwrap_or_else(|problem| panic!("{of} is no sound definition: {problem}"))
    }

    fn draw<'id>(&mut self, saga: &SagaBuilder<'id>, part: Part, input: StepHandle<'id, i64, definition::Query>) {
        let (name, step) = self.step();
        let retry = self.retry.clone();
        match part {
            Part::Compensatable => _ = saga.compensatable(&name, step, input).retry(retry),
            Part::Query => _ = saga.query(&name, step_fn(async |_, n: i64| Ok(n)), input).retry(retry),
            Part::BestEffort => _ = saga.best_effort_compensatable(&name, step, input).retry(retry),
            Part::Parallel(branches) => saga.parallel(|group| {
                group.branch(|saga| saga.compensatable(&name, step, input).retry(retry));
                for _ in 1..branches {
                    let (name, step) = self.step();
                    let retry = self.retry.clone();
                    group.branch(|saga| saga.compensatable(&name, step, input).retry(retry));
                }
            }),
            Part::Items(items) => {
                let items = input.map(move |n: i64| (0..i64::from(items)).map(|item| n + item).collect::<Vec<_>>());
                let _ = saga.for_each(&name).at_once(2).compensatable(step, items).retry(retry);
            }
            Part::When(taken) => {
                let decision = format!("{name}-taken");
                let _ = saga.when(&decision, input.map(move |_| taken), |saga| {
                    saga.compensatable(&name, step, input).retry(retry)
                });
            }
            Part::Sleep(hours) => {
                let time = self.hour * u32::from(hours);
                _ = saga.sleep(&name, input.map(move |_| time));
            }
            Part::Signal => {
                let hour = self.hour;
                _ = saga.wait_for::<i64, _>(&name, "go", input.map(move |_| Some(hour)));
            }
            Part::Lock(entity) => {
                let key = format!("entity-{entity}");
                _ = saga.lock(&name, input.map(move |_| vec![key.clone()]), self.hour * 24);
            }
            Part::Publish => _ = saga.publish(&name, input.map(|n: i64| Event::new("news", n))),
            Part::Child(steps) => {
                let child = self.child(&name, steps);
                let _ = saga.child(&name, &child, input);
                self.children.push(child);
            }
        }
    }
}
