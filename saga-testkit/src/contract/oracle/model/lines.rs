//! Entity locks: one list of who has asked, in the order of asking. Whoever shares no entity with anybody before has
//! what it asked for.

use saga_core::SagaId;
use saga_core::journal::{After, LockChange, LockEntry, Turn};

use super::{LineRow, Model, Refusal};

impl Model {
    pub(super) fn change_lines(&mut self, turn: &Turn) {
        let in_line = self.lines.iter().any(|row| row.saga == turn.saga);
        match (&turn.after, &turn.locks) {
            (After::End(_), _) | (_, Some(LockChange::GiveUp)) => self.lines.retain(|row| row.saga != turn.saga),
            (_, Some(LockChange::Ask { step, keys })) if !in_line => {
                let (step, keys) = (step.clone(), keys.clone());
                let row = LineRow { saga: turn.saga, step, keys, at: self.now, granted: false, read: false };
                self.lines.push(row);
            }
            (_, Some(LockChange::Ask { .. }) | None) => {}
        }
        for place in 0..self.lines.len() {
            let (before, rest) = self.lines.split_at(place);
            let first = !before.iter().any(|other| other.keys.iter().any(|key| rest[0].keys.contains(key)));
            if first && !rest[0].granted {
                let saga = rest[0].saga;
                self.lines[place].granted = true;
                self.wake(saga);
            }
        }
    }

    pub(super) fn has_unread_grant(&self, saga: SagaId) -> bool {
        self.lines.iter().any(|row| row.saga == saga && row.granted && !row.read)
    }

    /// In the order of the keys and lines.
    pub(in super::super) fn locks(&mut self, answer: &Result<Vec<LockEntry>, Refusal>) -> Result<(), String> {
        let mut expected: Vec<(String, usize, SagaId, bool)> = Vec::new();
        for (place, row) in self.lines.iter().enumerate() {
            expected.extend(row.keys.iter().map(|key| (key.clone(), place, row.saga, row.granted)));
        }
        expected.sort();
        let Ok(entries) = answer else { return Err(format!("{expected:?}")) };
        let is = |entry: &LockEntry, row: &(String, usize, SagaId, bool)| {
            (&entry.key, entry.saga, entry.token.is_some()) == (&row.0, row.2, row.3)
        };
        if entries.len() != expected.len() || !entries.iter().zip(&expected).all(|(entry, row)| is(entry, row)) {
            return Err(format!("(key, place in line, saga, whether it has it) {expected:?}"));
        }
        for entry in entries {
            entry.token.map_or(Ok(()), |token| self.see_token(entry.saga, &entry.key, token))?;
        }
        Ok(())
    }

    /// A holder keeps its token, and a later one has a higher one.
    pub(super) fn see_token(&mut self, saga: SagaId, key: &str, token: u64) -> Result<(), String> {
        let Some(row) = self.lines.iter().find(|row| row.saga == saga) else { return Err("no such grant".to_owned()) };
        let at = row.at;
        let (holder, last) = *self.tokens.entry(key.to_owned()).or_insert((at, token));
        let right = if holder == at { token == last } else { token > last };
        self.tokens.insert(key.to_owned(), (at, token));
        right
            .then_some(())
            .ok_or_else(|| format!("a token for {key} above {last}, not {token}; the same for one holder"))
    }
}
