//! What is owed: the compensation of everything that was begun and not proven to have had no effect.

use std::collections::BTreeMap;

use saga_core::machine::{ProbeAnswer, Record, Resolution};
use saga_core::{Effect, Op, StepName};

use super::problem::{Invariant, Problem};
use super::{Told, View, origin};
use crate::sim::Cast;

/// What is known of a step's effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// It may have happened.
    perhaps: bool,
    /// It is known what it left.
    done: bool,
    /// An attempt is under way.
    running: bool,
    /// It is a saga of its own, which answers for itself.
    child: bool,
    /// It was compensated since.
    undone: bool,
}

impl Known {
    pub(super) fn is_owed(self) -> bool {
        (self.perhaps || self.running) && !self.undone
    }
}

/// The books on all steps, kept from records alone.
#[derive(Debug, Default)]
pub(super) struct Books(BTreeMap<StepName, Known>);

impl Books {
    pub(super) fn take(&mut self, record: &Record) {
        match record {
            Record::Begun { step, op: Op::Run, .. } => self.of(step).running = true,
            Record::Delegated { step, .. } => *self.of(step) = Known { perhaps: true, child: true, ..Known::default() },
            // A child that has failed is rolled back.
            Record::Failed { step, op: Op::Run, .. } if self.of(step).child => *self.of(step) = Known::default(),
            Record::Done { step, .. } => *self.of(step) = Known { perhaps: true, done: true, ..Known::default() },
            Record::Failed { step, op: Op::Run, fault, .. } => {
                let known = self.of(step);
                known.perhaps |= fault.effect == Effect::Unknown;
                known.running = false;
            }
            Record::Interrupted { step, op: Op::Run, .. } => {
                let known = self.of(step);
                (known.perhaps, known.running) = (true, false);
            }
            Record::Probed { step, answer: ProbeAnswer::NotApplied }
            | Record::Resolved { step: Some(step), op: Op::Run, resolution: Resolution::NotApplied, .. } => {
                *self.of(step) = Known::default();
            }
            Record::Probed { step, answer: ProbeAnswer::Applied(_) }
            | Record::Watched { step, answer: ProbeAnswer::Applied(_), .. } => {
                *self.of(step) = Known { perhaps: true, done: true, ..Known::default() };
            }
            // Whether it came late after all could not be found out: it is compensated again.
            Record::NeedsAttention { step: Some(step), op: Op::Compensate, .. } => {
                let known = self.of(step);
                (known.perhaps, known.undone) = (true, false);
            }
            Record::Compensated { step, .. }
            | Record::Resolved { step: Some(step), op: Op::Compensate, resolution: Resolution::Skip, .. } => {
                self.of(step).undone = true;
            }
            _ => {}
        }
    }

    pub(super) fn of(&mut self, step: &StepName) -> &mut Known {
        self.0.entry(step.clone()).or_default()
    }

    pub(super) fn owed<'a>(&'a self, cast: &'a Cast) -> impl Iterator<Item = (&'a StepName, usize)> {
        self.0.iter().filter(|(_, known)| known.is_owed()).filter_map(|(step, _)| {
            let index = origin(cast, step)?;
            let planned = &cast.plan.steps()[index];
            // Of a list it is the items that are undone.
            let is_list = planned.each.is_some() && planned.name == *step;
            (planned.compensate.is_some() && !is_list).then_some((step, index))
        })
    }
}

/// What is known of each step when the saga turns back, in one line; none when it does not.
pub(crate) fn turned(saga: &Told) -> Option<String> {
    let mut books = Books::default();
    for record in saga.records() {
        books.take(record);
        if matches!(record, Record::TurnedBack { .. } | Record::Reopened) {
            return Some(format!("{:?}", books.0));
        }
    }
    None
}

pub(super) fn check(view: &View<'_>) -> Result<(), Problem> {
    view.sagas.iter().filter(|saga| saga.is_main(view.cast)).try_for_each(|saga| follow(view.cast, saga))
}

fn follow(cast: &Cast, saga: &Told) -> Result<(), Problem> {
    let mut books = Books::default();
    for record in saga.records() {
        if let Record::Begun { step, op: Op::Compensate, .. } = record
            && !books.of(step).is_owed()
        {
            return Problem::err(Invariant::Undone, format!("{step} is undone, and nothing of it can have happened"));
        }
        books.take(record);
        if let (Record::RolledBack, Some((step, _))) = (record, books.owed(cast).next()) {
            return Problem::err(Invariant::Undone, format!("the saga is rolled back, and {step} was never undone"));
        }
    }
    Ok(())
}
