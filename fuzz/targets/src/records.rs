//! Stored turns, a line each: what reads is written again as it was, and folds or is refused.

use saga_core::Timestamp;
use saga_core::machine::{SagaState, decode_turn, encode_turn};

use crate::world;

/// Reads the lines as the turns of a saga, and folds them.
pub fn run(bytes: &[u8]) {
    let Some(lines) = crate::lines(bytes) else { return };
    let mut turns = Vec::new();
    for line in lines {
        let Ok(turn) = decode_turn(line) else { continue };
        let again = encode_turn(&turn).unwrap();
        assert_eq!(decode_turn(&again).unwrap(), turn, "{again}");
        turns.push(turn);
    }
    let at = Timestamp::from_micros(1_767_225_600_000_000);
    for definition in world::definitions() {
        if let Ok(state) = SagaState::replay(definition.plan(), &turns, at) {
            // Whatever it has come to, it says what comes next.
            let _ = state.next(definition.plan(), at);
        }
    }
}
