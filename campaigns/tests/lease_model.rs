//! Leases, fencing and takeover as a small model, of which every state is visited: three workers, clocks that
//! disagree, messages that arrive late.
//!
//! What is modelled is what the journal does in one transaction, and what workers do between two. A worker that has
//! stopped (a long pause, a partition) goes on where it was, with an append that it decided on before. The fence is
//! the check, in the append's own transaction, that the lease is not fenced.

#![allow(clippy::unwrap_used, reason = "tests")]

use stateright::{Checker as _, HasDiscoveries, Model, Property};

const WORKERS: usize = 3;
/// How many leases are ever opened.
const EPOCHS_MAX: u8 = 4;
/// How many turns the one saga gets.
const TURNS_MAX: usize = 2;
/// How long a lease is valid, in ticks of the journal's clock.
const TTL: u8 = 1;

/// A lease, as the journal has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Lease {
    /// How many ticks it is still valid.
    left: u8,
    fenced: bool,
}

/// What a worker knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Worker {
    /// Its epoch.
    epoch: Option<u8>,
    /// How many turns it knows of the saga, when it believes that it owns it.
    knows: Option<usize>,
    /// An append that it has decided on and that is on its way: under this epoch, at this place.
    sending: Option<(u8, usize)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    leases: Vec<Lease>,
    /// Who owns the saga.
    owner: Option<u8>,
    /// Under which epoch each turn was written, and whether that lease was fenced by then.
    turns: Vec<(u8, bool)>,
    workers: [Worker; WORKERS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// The journal's clock goes on.
    Tick,
    /// A worker opens a lease.
    Open(usize),
    /// A worker's heartbeat arrives.
    Renew(usize),
    /// Somebody fences what has lapsed.
    Fence,
    /// A worker claims the saga.
    Claim(usize),
    /// A worker decides on the next turn and sends it.
    Send(usize),
    /// What a worker has sent arrives.
    Arrive(usize),
    /// The answer is lost, and what was sent arrives again later, unchanged.
    ArriveUnanswered(usize),
    /// A worker dies, and what it had sent may still arrive under another worker's eyes: it is gone here.
    Crash(usize),
}

/// Leases with a fence, or without.
#[derive(Clone, Copy, Debug)]
struct Leases {
    is_fenced: bool,
}

impl Leases {
    /// The append, as one transaction: the lease holds, the saga is the lease's, the turn is the next one. What
    /// was written already by the same lease at the same place is a repetition.
    fn append(self, state: &mut State, epoch: u8, seq: usize) -> bool {
        let fenced = state.leases[usize::from(epoch)].fenced;
        if self.is_fenced && (fenced || state.owner != Some(epoch)) {
            return false;
        }
        if seq == state.turns.len() {
            state.turns.push((epoch, fenced));
            return true;
        }
        state.turns.get(seq).is_some_and(|(by, _)| *by == epoch)
    }
}

impl Model for Leases {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let (leases, turns, workers) = (Vec::new(), Vec::new(), [Worker::default(); WORKERS]);
        vec![State { leases, owner: None, turns, workers }]
    }

    fn actions(&self, _: &State, actions: &mut Vec<Action>) {
        actions.extend([Action::Tick, Action::Fence]);
        for worker in 0..WORKERS {
            actions.extend([
                Action::Open(worker),
                Action::Renew(worker),
                Action::Claim(worker),
                Action::Send(worker),
                Action::Arrive(worker),
                Action::ArriveUnanswered(worker),
                Action::Crash(worker),
            ]);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Tick => state.leases.iter_mut().for_each(|lease| lease.left = lease.left.saturating_sub(1)),
            Action::Open(worker) => {
                let free = state.workers[worker].epoch.is_none() && state.leases.len() < usize::from(EPOCHS_MAX);
                let epoch = u8::try_from(state.leases.len()).ok().filter(|_| free)?;
                state.leases.push(Lease { left: TTL, fenced: false });
                state.workers[worker].epoch = Some(epoch);
            }
            Action::Renew(worker) => {
                let epoch = state.workers[worker].epoch?;
                let lease = &mut state.leases[usize::from(epoch)];
                if lease.fenced {
                    // It learns that its lease is gone, and drops what it holds.
                    state.workers[worker] = Worker::default();
                } else {
                    lease.left = TTL;
                }
            }
            Action::Fence => {
                for lease in state.leases.iter_mut().filter(|lease| lease.left == 0) {
                    lease.fenced = true;
                }
            }
            Action::Claim(worker) => {
                let epoch = state.workers[worker].epoch?;
                let is_free = state.owner.is_none_or(|owner| state.leases[usize::from(owner)].fenced);
                if state.leases[usize::from(epoch)].fenced || !is_free {
                    return None;
                }
                state.owner = Some(epoch);
                // It reads what the saga's last owner has written: every append that was let through is visible.
                state.workers[worker].knows = Some(state.turns.len());
            }
            Action::Send(worker) => {
                let Worker { epoch, knows, sending } = &mut state.workers[worker];
                let (epoch, seq) = ((*epoch)?, (*knows)?);
                if sending.is_some() || seq >= TURNS_MAX {
                    return None;
                }
                *sending = Some((epoch, seq));
            }
            Action::Arrive(worker) => {
                let (epoch, seq) = state.workers[worker].sending.take()?;
                let written = self.append(&mut state, epoch, seq);
                state.workers[worker].knows = written.then_some(seq + 1);
            }
            Action::ArriveUnanswered(worker) => {
                let (epoch, seq) = state.workers[worker].sending?;
                self.append(&mut state, epoch, seq);
            }
            Action::Crash(worker) => state.workers[worker] = Worker::default(),
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no append with a stale epoch", |_, state: &State| {
                state.turns.iter().all(|(_, stale)| !stale)
            }),
            Property::always("whoever appends knows all that was written", |_, state: &State| {
                let knows_too_much = |worker: &Worker| worker.knows.is_some_and(|knows| knows > state.turns.len());
                !state.workers.iter().any(knows_too_much)
            }),
            Property::always("one valid owner", |_, state: &State| {
                let believes = |worker: &&Worker| {
                    let valid = worker.epoch.is_some_and(|epoch| !state.leases[usize::from(epoch)].fenced);
                    worker.knows.is_some() && valid
                };
                state.workers.iter().filter(believes).count() <= 1
            }),
            Property::sometimes("a saga is taken over and goes on", |_, state: &State| {
                state.turns.windows(2).any(|pair| pair[0].0 != pair[1].0)
            }),
            Property::sometimes("an older lease takes over from a younger one", |_, state: &State| {
                state.turns.windows(2).any(|pair| pair[0].0 > pair[1].0)
            }),
            Property::sometimes("a stale append is turned away", |_, state: &State| {
                let stale =
                    |worker: &Worker| worker.sending.is_some_and(|(epoch, _)| state.leases[usize::from(epoch)].fenced);
                state.workers.iter().any(stale)
            }),
        ]
    }
}

#[test]
fn with_the_fence_no_stale_append_enters() {
    // It makes no difference which worker is which.
    let alike = |state: &State| {
        let mut state = state.clone();
        state.workers.sort_unstable();
        state
    };
    let checker = Leases { is_fenced: true }.checker().symmetry_fn(alike).spawn_dfs().join();
    assert!(checker.is_done());
    println!("{} states, {} of them different", checker.state_count(), checker.unique_state_count());
    assert!(checker.unique_state_count() > 10_000, "the model is not trivial");
    checker.assert_properties();
}

#[test]
fn without_the_fence_a_stale_append_enters() {
    let stale = HasDiscoveries::AllOf(["no append with a stale epoch"].into());
    let checker = Leases { is_fenced: false }.checker().finish_when(stale).spawn_bfs().join();
    let path = checker.discovery("no append with a stale epoch").expect("a counter-example");
    // A worker sends, its lease lapses and is fenced, and only then does what it sent arrive.
    let actions = path.into_actions();
    println!("{actions:?}");
    assert!(matches!(actions.last(), Some(Action::Arrive(_) | Action::ArriveUnanswered(_))), "{actions:?}");
    assert!(actions.contains(&Action::Fence) && actions.iter().any(|action| matches!(action, Action::Send(_))));
}
