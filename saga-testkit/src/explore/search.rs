//! The search: which schedules are run, and what is made of them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use saga_core::definition::Plan as Steps;
use saga_core::{Checkpoint, Kind};

use super::ending::Ending;
use super::explored::Explored;
use super::run::{self, Plan, Ran};
use super::scene::Scene;
use super::violation::{ExploreError, Violation};
use super::{Depth, Explore};
use crate::World;
use crate::invariant::{Invariant, Problem};
use crate::sim::{Schedule, Visited};

/// Runs the scene once, on a runtime of its own.
pub(super) fn once<S, C, K, I, O>(explore: &Explore<S, C>, plan: &Plan) -> Ran
where
    S: AsyncFn(World) -> Scene<K, I, O>,
    C: AsyncFn(&Ending<'_, K, O>) -> Result<(), String>,
    I: Checkpoint + Clone,
    O: Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => panic!("no runtime for the simulation: {error}"),
    };
    runtime.block_on(Box::pin(run::run(&explore.scene, &explore.check, plan, explore.foreign)))
}

/// Everything that the exploration is to try.
pub(super) fn all<S, C, K, I, O>(explore: &Explore<S, C>) -> Result<Explored, ExploreError>
where
    S: AsyncFn(World) -> Scene<K, I, O> + Sync,
    C: AsyncFn(&Ending<'_, K, O>) -> Result<(), String> + Sync,
    I: Checkpoint + Clone,
    O: Send + 'static,
{
    let began = Instant::now();
    let mut explored = Explored::default();
    let all_goes_well = Schedule::new();
    let base = once(explore, &Plan::Scheduled(all_goes_well.clone()));
    explored.count(&base);
    sound(explore, &all_goes_well, &base)?;
    let mut level = vec![(all_goes_well, base)];
    for depth in 1..=2 {
        let roll_backs = depth > 1 && explore.depth == Depth::RollBacks;
        if roll_backs {
            level = ways_back(level);
        }
        let schedules: Vec<Schedule> =
            level.iter().flat_map(|(schedule, ran)| further(schedule, ran, roll_backs)).collect();
        let runs = parallel(&schedules, |schedule| once(explore, &Plan::Scheduled(schedule.clone())));
        level = schedules.into_iter().zip(runs).collect();
        for (schedule, ran) in &level {
            explored.count(ran);
            sound(explore, schedule, ran)?;
        }
        if explore.depth == Depth::Singles {
            break;
        }
    }
    walk(explore, &mut explored)?;
    explored.took = began.elapsed();
    Ok(explored)
}

/// Runs in which things go wrong by chance, more of them than can be tried out one by one.
fn walk<S, C, K, I, O>(explore: &Explore<S, C>, explored: &mut Explored) -> Result<(), ExploreError>
where
    S: AsyncFn(World) -> Scene<K, I, O> + Sync,
    C: AsyncFn(&Ending<'_, K, O>) -> Result<(), String> + Sync,
    I: Checkpoint + Clone,
    O: Send + 'static,
{
    let dice = |seed| Plan::Dice { seed, one_in: 4 + u32::try_from(seed % 12).unwrap_or(0), most: 12 };
    let plans: Vec<Plan> = (0..explore.walks).map(|walk| dice(explore.seed.wrapping_add(walk))).collect();
    for ran in parallel(&plans, |plan| once(explore, plan)) {
        explored.count(&ran);
        let schedule: Schedule = ran.fired.iter().cloned().collect();
        sound(explore, &schedule, &ran)?;
    }
    Ok(())
}

/// One run for each way in which things can stand when the saga turns back: by what the journal knows of each
/// step, and by whether what went wrong had its effect.
fn ways_back(level: Vec<(Schedule, Ran)>) -> Vec<(Schedule, Ran)> {
    let mut known = BTreeSet::new();
    let mut is_new = |(_, ran): &(Schedule, Ran)| {
        let effects: Vec<Option<bool>> = ran.fired.iter().map(|(_, fate)| fate.has_effect()).collect();
        ran.turned.as_ref().is_some_and(|turned| known.insert((turned.clone(), effects)))
    };
    level.into_iter().filter(|run| is_new(run)).collect()
}

/// The schedules that go one step further than this one: one more thing goes wrong, after all that has.
fn further(schedule: &Schedule, ran: &Ran, backward: bool) -> Vec<Schedule> {
    let last = schedule.iter().last().map(|(point, _)| point);
    let from = match last {
        Some(last) => ran.visited.iter().position(|visited| visited.point == *last).map_or(usize::MAX, |at| at + 1),
        None => 0,
    };
    let on = |visited: &&Visited| !backward || visited.backward;
    let points = ran.visited.iter().skip(from).filter(on);
    let each = |visited: &Visited| {
        let point = visited.point.clone();
        visited.fates.iter().map(|fate| schedule.with(point.clone(), *fate)).collect::<Vec<_>>()
    };
    points.flat_map(each).collect()
}

/// A run that broke no invariant, and in which all that was to go wrong did.
pub(super) fn sound<S, C, K, I, O>(explore: &Explore<S, C>, schedule: &Schedule, ran: &Ran) -> Result<(), ExploreError>
where
    S: AsyncFn(World) -> Scene<K, I, O>,
    C: AsyncFn(&Ending<'_, K, O>) -> Result<(), String>,
    I: Checkpoint + Clone,
    O: Send + 'static,
{
    if let Some(problem) = &ran.problem {
        return Err(ExploreError::Violation(Box::new(shrink(explore, schedule, problem, ran))));
    }
    let missed = schedule.iter().find(|(point, _)| !ran.fired.iter().any(|(fired, _)| fired == *point));
    match missed {
        Some((point, _)) => Err(ExploreError::Violation(Box::new(Violation {
            problem: Problem::new(
                Invariant::Deterministic,
                format!("{point} was not reached: does something depend on chance, on real time, or on threads?"),
            ),
            schedule: schedule.clone(),
            story: ran.story.clone(),
        }))),
        None => Ok(()),
    }
}

/// Leaves out of the schedule what the violation does not need.
fn shrink<S, C, K, I, O>(explore: &Explore<S, C>, schedule: &Schedule, problem: &Problem, ran: &Ran) -> Violation
where
    S: AsyncFn(World) -> Scene<K, I, O>,
    C: AsyncFn(&Ending<'_, K, O>) -> Result<(), String>,
    I: Checkpoint + Clone,
    O: Send + 'static,
{
    let mut least = Violation { problem: problem.clone(), schedule: schedule.clone(), story: ran.story.clone() };
    let mut nth = 0;
    while nth < least.schedule.len() && least.schedule.len() > 1 {
        let shorter = least.schedule.without(nth);
        let ran = once(explore, &Plan::Scheduled(shorter.clone()));
        match ran.problem {
            Some(problem) if problem.invariant == least.problem.invariant => {
                // What was left in may be left out now.
                least = Violation { problem, schedule: shorter, story: ran.story };
                nth = 0;
            }
            Some(_) | None => nth += 1,
        }
    }
    least
}

/// Whether some step does anything in the world by itself.
pub(super) fn has_effects(steps: &Steps) -> bool {
    steps.steps().iter().any(|step| step.kind.has_effect() && step.kind != Kind::Child)
}

/// What no run came to.
pub(super) fn unreached(steps: &Steps, explored: &Explored, excused: &BTreeSet<String>) -> Result<(), ExploreError> {
    let mut expected: BTreeSet<String> = BTreeSet::new();
    for step in steps.steps() {
        expected.insert(step.name.to_string());
        if step.compensate.is_some() || step.kind == Kind::Child {
            expected.insert(format!("undo of {}", step.name));
        }
    }
    let wrongly: Vec<String> =
        excused.iter().filter(|name| explored.reached.contains(*name) || !expected.contains(*name)).cloned().collect();
    if !wrongly.is_empty() {
        return Err(ExploreError::WronglyExcused { what: wrongly });
    }
    let missed = expected.iter().filter(|name| !explored.reached.contains(*name) && !excused.contains(*name));
    let what: Vec<String> = missed.cloned().collect();
    if what.is_empty() { Ok(()) } else { Err(ExploreError::Unreached { what }) }
}

/// Runs all of them on as many threads as there are processors; the answers come in order.
fn parallel<T: Sync, R: Send>(tasks: &[T], run: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(tasks.len());
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(tasks.len())));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((nth, task)) = {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    tasks.get(nth).map(|task| (nth, task))
                } {
                    let answer = run(task);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((nth, answer));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(nth, _)| *nth);
    done.into_iter().map(|(_, answer)| answer).collect()
}
