//! The outline of a definition: what promise 12 compares before a saga is continued.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::plan::{Kind, Plan};
use crate::checkpoint::Digest;
use crate::id::StepName;

/// Names, kinds and order of a definition's steps. It is stored with the first use of a version and
/// compared at every start-up. Policies and code are no part of it: they may change freely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// The definition's name.
    pub definition: String,
    /// The definition's version.
    pub version: u32,
    /// The steps in order of declaration.
    pub steps: Vec<StepOutline>,
}

/// One step of an [`Outline`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepOutline {
    /// The step.
    pub name: StepName,
    /// What it is to the saga.
    pub kind: Kind,
    /// Whether it is undone when the saga turns back.
    pub compensated: bool,
    /// The steps that it directly follows.
    pub after: Vec<StepName>,
    /// The step that decides whether it is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<StepName>,
    /// Whether it is taken for each item of a list.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub each: bool,
}

impl Outline {
    pub(crate) fn of(definition: &str, version: u32, plan: &Plan) -> Self {
        let steps = plan.steps().iter().map(|step| StepOutline {
            name: step.name.clone(),
            kind: step.kind,
            compensated: step.compensate.is_some(),
            after: step.after.iter().map(|&index| plan.steps()[index].name.clone()).collect(),
            each: step.each.is_some(),
            guard: step.guard.map(|index| plan.steps()[index].name.clone()),
        });
        Self { definition: definition.to_owned(), version, steps: steps.collect() }
    }

    /// The outline in a few bytes, for a quick comparison.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        let lines: Vec<String> = self.steps.iter().map(ToString::to_string).collect();
        Digest::of_text(&format!("{} v{}\n{}", self.definition, self.version, lines.join("\n")))
    }

    /// What differs in `now`; nothing when the two are the same.
    #[must_use]
    pub fn diff(&self, now: &Self) -> OutlineDiff {
        let lines = |outline: &Self| outline.steps.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (old, new) = (lines(self), lines(now));
        let removed = old.iter().filter(|line| !new.contains(line)).map(|line| format!("- {line}"));
        let added = new.iter().filter(|line| !old.contains(line)).map(|line| format!("+ {line}"));
        OutlineDiff(removed.chain(added).collect())
    }
}

impl fmt::Display for StepOutline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)?;
        if self.each {
            f.write_str(" for each")?;
        }
        if self.compensated && self.kind != Kind::Compensatable {
            f.write_str(" (compensated)")?;
        }
        for (nth, name) in self.after.iter().enumerate() {
            write!(f, "{} {name}", if nth == 0 { " after" } else { "," })?;
        }
        if let Some(guard) = &self.guard {
            write!(f, " when {guard}")?;
        }
        Ok(())
    }
}

/// The lines that two outlines do not share: `-` only in the stored one, `+` only in this binary's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineDiff(Vec<String>);

impl OutlineDiff {
    /// Whether the outlines are the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The differing lines.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for OutlineDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}
