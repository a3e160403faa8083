//! What a run has come to, by the books of the participant and by what was told.

use serde::Serialize;

use crate::ledger::{Book, End};

/// What one run has come to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verdict {
    /// No worker came to the point that the run is about: it shows nothing.
    pub missed: bool,
    /// Calls that were made again.
    pub again: u32,
    /// Effects had more than once by a participant without keys.
    pub doubled_without_keys: u32,
    /// Effects had more than once by a participant with keys.
    pub doubled: u32,
    /// Effects that stand after a saga that is told to have failed, without a word of them.
    pub left_untold: u32,
    /// Effects that stand, and the error with which the saga ended says that a compensation failed.
    pub left_told: u32,
    /// Effects that stand, and the saga stays open until a human has decided.
    pub left_open: u32,
    /// Effects that are missing after a saga that is told to be complete.
    pub missing: u32,
    /// No end was told.
    pub stuck: bool,
    /// Two workers told different ends.
    pub two_ends: bool,
    /// What was told, by which worker.
    pub told: Vec<String>,
}

impl Verdict {
    /// Judges a run; `came` says whether a worker came to its point.
    pub fn of(book: &Book, came: bool) -> Self {
        let ends = book.told.iter().filter(|(_, end, _)| *end != End::EngineError).map(|(_, end, _)| *end);
        let ends: Vec<End> = ends.collect();
        let stand = u32::try_from(book.stand().len()).unwrap_or(u32::MAX);
        let mut verdict = Self {
            missed: !came,
            again: book.again(),
            doubled_without_keys: book.doubled_without_keys(),
            doubled: book.doubled(),
            stuck: ends.is_empty(),
            two_ends: ends.windows(2).any(|pair| pair[0] != pair[1]),
            told: book.told.iter().map(|(worker, end, text)| format!("{worker}: {end:?} {text}")).collect(),
            ..Self::default()
        };
        match ends.last() {
            Some(End::Completed) => verdict.missing = 3 - stand,
            Some(End::RolledBack) => verdict.left_untold = stand,
            Some(End::UndoFailed) => verdict.left_told = stand,
            Some(End::NeedsHuman) => verdict.left_open = stand,
            Some(End::EngineError) | None => {}
        }
        verdict
    }

    /// Whether money or an order is wrong, and nobody knows.
    pub fn is_wrong(&self) -> bool {
        self.doubled > 0 || self.left_untold > 0 || self.missing > 0 || self.stuck || self.two_ends
    }
}

/// What is counted, by the names of the fields.
const COUNTED: [(&str, fn(&Verdict) -> u32); 9] = [
    ("again", |verdict| verdict.again),
    ("doubled_without_keys", |verdict| verdict.doubled_without_keys),
    ("doubled", |verdict| verdict.doubled),
    ("left_untold", |verdict| verdict.left_untold),
    ("left_told", |verdict| verdict.left_told),
    ("left_open", |verdict| verdict.left_open),
    ("missing", |verdict| verdict.missing),
    ("stuck", |verdict| u32::from(verdict.stuck)),
    ("two_ends", |verdict| u32::from(verdict.two_ends)),
];

/// What all of them have come to. Runs that missed their point show nothing, and do not count.
pub fn counts(verdicts: &[Verdict]) -> impl Iterator<Item = (&'static str, u32)> {
    let sum = |of: fn(&Verdict) -> u32| verdicts.iter().filter(|verdict| !verdict.missed).map(of).sum();
    COUNTED.into_iter().map(move |(name, of)| (name, sum(of)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Ask, Op};

    fn book(asks: &[Ask]) -> Book {
        let mut book = Book::default();
        for ask in asks {
            book.act(1, ask);
        }
        book
    }

    fn perform(key: &str) -> Ask {
        Ask::Perform { op: Op::Authorize, key: key.to_owned() }
    }

    fn told(end: End) -> Ask {
        Ask::Told { end, text: String::new() }
    }

    #[test]
    fn an_effect_that_stands_after_a_failure_is_left_and_nobody_was_told() {
        let verdict = Verdict::of(&book(&[perform("a"), told(End::RolledBack)]), true);
        assert_eq!((verdict.left_untold, verdict.is_wrong()), (1, true));
    }

    #[test]
    fn a_call_made_again_under_its_key_is_doubled_only_where_there_are_no_keys() {
        let verdict = Verdict::of(&book(&[perform("a"), perform("a")]), true);
        assert_eq!((verdict.again, verdict.doubled_without_keys, verdict.doubled), (1, 1, 0));
    }

    #[test]
    fn another_key_doubles_the_effect() {
        assert_eq!(Verdict::of(&book(&[perform("a"), perform("b")]), true).doubled, 1);
    }

    #[test]
    fn what_was_undone_does_not_happen_late() {
        let undo = Ask::Undo { op: Op::Authorize, key: "a".to_owned() };
        let verdict = Verdict::of(&book(&[undo, perform("a"), told(End::RolledBack)]), true);
        assert!(!verdict.is_wrong());
    }

    #[test]
    fn a_saga_of_which_two_ends_are_told_is_wrong() {
        let verdict = Verdict::of(&book(&[told(End::Completed), told(End::RolledBack)]), true);
        assert!(verdict.two_ends && verdict.is_wrong());
    }

    #[test]
    fn a_run_that_missed_its_point_does_not_count() {
        let doubled = Verdict::of(&book(&[perform("a"), perform("b")]), true);
        let missed = Verdict { missed: true, ..doubled.clone() };
        let counted: Vec<_> = counts(&[doubled.clone(), missed, doubled]).collect();
        assert_eq!(counted[2], ("doubled", 2));
    }

    #[test]
    fn a_saga_of_which_no_end_is_told_is_stuck() {
        assert!(Verdict::of(&book(&[perform("a")]), true).stuck);
    }
}
