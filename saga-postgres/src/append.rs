//! Appends: plain turns and those that publish go in as one batch; those with rarer effects each by
//! itself, so that all of it is one write.

use saga_core::Timestamp;
use saga_core::journal::{After, Appended, JournalError, Lease, LetterChange, LockChange, NewEvent, Turn};
use serde_json::{Value, json};
use sqlx::Row as _;
use uuid::Uuid;

use crate::error::Failure;
use crate::journal::{Bound, PostgresJournal, read, step_text};
use crate::rows;

const DOING: &str = "appending turns";

impl PostgresJournal {
    pub(crate) async fn append_turns(&self, lease: Lease, turns: &[Turn]) -> Result<Vec<Appended>, JournalError> {
        let mut answers = vec![Appended::Written; turns.len()];
        let (single, mut batch): (Vec<usize>, Vec<usize>) =
            (0..turns.len()).partition(|&place| has_effects(&turns[place]));
        while !batch.is_empty() || single.is_empty() && answers.is_empty() {
            let together: Vec<&Turn> = batch.iter().map(|&place| &turns[place]).collect();
            let publishes = together.iter().any(|turn| !turn.events.is_empty());
            let bind = || match publishes {
                true => bind_events(bind_turns(self.query(&self.sql.append_with_events), lease, &together), &together),
                false => bind_turns(self.query(&self.sql.append), lease, &together),
            };
            if self.appended(lease, &batch, &mut answers, bind).await? {
                break;
            }
            let unread = self.unread(&together).await?;
            for &place in batch.iter().filter(|&&place| unread.contains(&turns[place].saga.as_uuid())) {
                answers[place] = Appended::Unread;
            }
            batch.retain(|&place| answers[place] != Appended::Unread);
        }
        let mut tells = false;
        for place in single {
            let turn = &turns[place];
            let effects = effects(turn);
            let bind = || bind_single(self.query(&self.sql.append_with_effects), lease, turn, &effects);
            if !self.appended(lease, &[place], &mut answers, bind).await? {
                answers[place] = Appended::Unread;
            }
            tells |= !turn.starts.is_empty() || !turn.sends.is_empty() || turn.locks.is_some();
        }
        if tells {
            self.wake().await?;
        }
        Ok(answers)
    }

    /// Whether the turns were answered; not when one of them would end its saga with a message unread:
    /// nothing was written then.
    async fn appended(
        &self,
        lease: Lease,
        places: &[usize],
        answers: &mut [Appended],
        bind: impl Fn() -> Bound + Send + Sync,
    ) -> Result<bool, JournalError> {
        let appending = self.traffic.attempt(DOING, |connection| {
            let query = bind();
            Box::pin(async move { query.fetch_all(connection).await })
        });
        let rows = match appending.await {
            Ok(rows) => rows,
            Err(Failure::Unread(_)) => return Ok(false),
            Err(failure) => return Err(failure.into_journal_error(DOING, Some(lease.epoch))),
        };
        let codes: Vec<i16> = rows.first().map_or(Ok(Vec::new()), |row| row.try_get("answers")).or_else(read(DOING))?;
        // An empty answer says that everything was written.
        for (code, &place) in codes.iter().zip(places) {
            answers[place] = match code {
                0 => Appended::Written,
                1 => Appended::Repeated,
                _ => Appended::Rival,
            };
        }
        Ok(true)
    }

    /// Which of the sagas that these turns end have an unread message.
    async fn unread(&self, turns: &[&Turn]) -> Result<Vec<Uuid>, JournalError> {
        let ended = turns.iter().filter(|turn| matches!(turn.after, After::End(_)));
        let ended: Vec<Uuid> = ended.map(|turn| turn.saga.as_uuid()).collect();
        let rows = self.rows(&self.traffic, DOING, None, || self.query(&self.sql.unread).bind(ended.clone())).await?;
        rows.iter().map(|row| row.try_get("saga_id").or_else(read(DOING))).collect()
    }
}

/// Whether the turn does more than to write its records, and to publish.
fn has_effects(turn: &Turn) -> bool {
    !turn.letters.is_empty()
        || !turn.read.is_empty()
        || !turn.starts.is_empty()
        || !turn.sends.is_empty()
        || turn.locks.is_some()
}

fn bind_turns(query: Bound, lease: Lease, turns: &[&Turn]) -> Bound {
    let mut parked = (Vec::new(), Vec::new(), Vec::new());
    for turn in turns {
        if let After::Park { wake_at, standing } = turn.after {
            parked.0.push(turn.saga.as_uuid());
            parked.1.push(wake_at.map(Timestamp::as_micros));
            parked.2.push(rows::standing_code(standing));
        }
    }
    query
        .bind(lease.epoch.0)
        .bind(turns.iter().map(|turn| turn.saga.as_uuid()).collect::<Vec<_>>())
        .bind(turns.iter().map(|turn| rows::signed(turn.seq)).collect::<Vec<_>>())
        .bind(turns.iter().map(|turn| turn.nonce).collect::<Vec<_>>())
        .bind(turns.iter().map(|turn| ends(turn.after)).collect::<Vec<_>>())
        .bind(turns.iter().map(|turn| turn.body.as_str()).collect::<Vec<_>>())
        .bind(parked.0)
        .bind(parked.1)
        .bind(parked.2)
}

/// The events of the turns, each with the place of its turn, counted from one.
fn bind_events(query: Bound, turns: &[&Turn]) -> Bound {
    let places = turns.iter().zip(1_i32..).flat_map(|(turn, place)| turn.events.iter().map(move |_| place));
    let query = query.bind(places.collect::<Vec<_>>());
    let numbered = turns.iter().flat_map(|turn| turn.events.iter().zip(0_i32..));
    bind_numbered(query, &numbered.collect::<Vec<_>>())
}

fn bind_numbered(query: Bound, events: &[(&NewEvent, i32)]) -> Bound {
    let headers = |event: &NewEvent| json!(event.headers).to_string();
    query
        .bind(events.iter().map(|(_, nth)| *nth).collect::<Vec<_>>())
        .bind(events.iter().map(|(event, _)| event.id.as_str()).collect::<Vec<_>>())
        .bind(events.iter().map(|(event, _)| event.topic.as_str()).collect::<Vec<_>>())
        .bind(events.iter().map(|(event, _)| headers(event)).collect::<Vec<_>>())
        .bind(events.iter().map(|(event, _)| event.payload.as_str()).collect::<Vec<_>>())
}

fn bind_single(query: Bound, lease: Lease, turn: &Turn, effects: &str) -> Bound {
    let (parked, due, standing) = match turn.after {
        After::Park { wake_at, standing } => (true, wake_at.map(Timestamp::as_micros), rows::standing_code(standing)),
        After::Keep | After::End(_) => (false, None, 0),
    };
    let query = query
        .bind(lease.epoch.0)
        .bind(turn.saga.as_uuid())
        .bind(rows::signed(turn.seq))
        .bind(turn.nonce)
        .bind(ends(turn.after))
        .bind(turn.body.as_str())
        .bind(parked)
        .bind(due)
        .bind(standing);
    bind_numbered(query, &turn.events.iter().zip(0_i32..).collect::<Vec<_>>()).bind(effects.to_owned())
}

/// What goes with the turn, as the function in the database reads it.
fn effects(turn: &Turn) -> String {
    let letters: Vec<Value> = turn.letters.iter().map(letter).collect();
    let starts = turn.starts.iter().map(|saga| {
        let input: String = saga.input.to_string();
        json!({
            "saga": saga.id.as_uuid(), "definition": saga.definition, "version": saga.version, "key": saga.key,
            "input": input, "nonce": saga.nonce, "body": saga.body,
        })
    });
    let sends = turn.sends.iter().map(|message| {
        json!({ "definition": message.definition, "key": message.key, "id": message.id, "body": message.body })
    });
    let locks = turn.locks.as_ref().map(|change| match change {
        LockChange::Ask { step, keys } => json!({ "step": step, "keys": keys }),
        LockChange::GiveUp => json!({}),
    });
    json!({
        "letters": letters, "read": turn.read, "starts": starts.collect::<Vec<_>>(),
        "sends": sends.collect::<Vec<_>>(), "locks": locks,
    })
    .to_string()
}

fn letter(change: &LetterChange) -> Value {
    // Postgres has no text with this character; errors are texts of others.
    let text = |text: &str| text.replace('\0', "\u{fffd}");
    match change {
        LetterChange::Open { step, op, reason, error, attempts } => json!({
            "open": true, "step": step_text(step.as_ref()), "op": rows::op_name(*op), "reason": reason.as_str(),
            "text": text(error), "attempts": rows::signed(*attempts), "actor": "",
        }),
        LetterChange::Close { step, op, resolution, actor, reason } => json!({
            "open": false, "step": step_text(step.as_ref()), "op": rows::op_name(*op), "reason": resolution,
            "text": text(reason), "attempts": 0, "actor": text(actor),
        }),
    }
}

/// How the turn leaves the saga: none while its worker keeps it.
fn ends(after: After) -> Option<i16> {
    match after {
        After::End(end) => Some(rows::end_code(end)),
        After::Park { .. } => Some(0),
        After::Keep => None,
    }
}
