#![doc = include_str!("machine.md")]

mod child;
mod fan_out;
mod mail;
mod next;
mod phase;
mod record;
mod report;
mod resolve;
mod state;
mod step_state;
mod watch;

pub use mail::{ChildEnd, Mail, Signalled};
pub use next::{Attempt, Held, Next};
pub use phase::{Event, Phase, TRANSITIONS, next_phase, to_matrix, to_mermaid};
pub use record::{AttentionReason, Halt, Parent, ProbeAnswer, Record, Resolution, decode_turn, encode_turn};
pub use report::{Moment, Report};
pub use resolve::Refused;
pub use state::{Direction, IllegalRecord, SagaState};
pub use step_state::{StepState, Tally};
