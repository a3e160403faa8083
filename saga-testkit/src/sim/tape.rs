//! What happened in a run, in order, for people.

use std::time::Duration;

use tokio::time::Instant;

/// A run's story, as it happened.
#[derive(Debug)]
pub(crate) struct Tape {
    began: Instant,
    entries: Vec<(Duration, Entry)>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) text: String,
    /// Whether it was on the schedule.
    pub(crate) planned: bool,
}

impl Entry {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), planned: false }
    }

    pub(crate) fn fault(text: impl Into<String>) -> Self {
        Self { text: text.into(), planned: true }
    }
}

impl Default for Tape {
    fn default() -> Self {
        Self { began: Instant::now(), entries: Vec::new() }
    }
}

impl Tape {
    pub(crate) fn add(&mut self, entry: Entry) {
        self.entries.push((self.began.elapsed(), entry));
    }

    /// The story: a line for each entry, with the virtual time since the beginning. What was planned to go
    /// wrong is marked.
    pub(crate) fn tell(&self) -> Vec<String> {
        let line = |(at, entry): &(Duration, Entry)| {
            let mark = if entry.planned { "!!" } else { "  " };
            format!("{:>9} {mark} {}", clock(*at), entry.text)
        };
        self.entries.iter().map(line).collect()
    }
}

/// A virtual time, short: `1.200s`, `2d 03:04:05`.
pub(crate) fn clock(at: Duration) -> String {
    let seconds = at.as_secs();
    if seconds < 600 {
        return format!("{:.3}s", at.as_secs_f64());
    }
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    if days > 0 {
        format!("{days}d {hours:02}:{minutes:02}")
    } else {
        format!("{hours:02}:{minutes:02}:{:02}", seconds % 60)
    }
}
