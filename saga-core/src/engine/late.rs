//! Signals that come too late: another saga sees to each of them.

use std::sync::{Arc, OnceLock};

use crate::checkpoint::Checkpoint as _;
use crate::codec::{TurnError, encode_turn, seal_late};
use crate::definition::{Blueprint, BuildError, Definition, LateSignal};
use crate::fault::StepError;
use crate::journal::NewSaga;
use crate::machine::Record;
use crate::step::step_fn;

/// The name of the definition that has no answer but to call a human.
const DEAD_LETTER: &str = "late-signal";

/// What sees to a late signal where the definition has no rule: a saga whose only step waits for a human
/// from the beginning, so that the signal is listed, alerted and answered like any other dead letter.
pub(crate) fn dead_letter() -> &'static Arc<Blueprint> {
    static RULE: OnceLock<Arc<Blueprint>> = OnceLock::new();
    RULE.get_or_init(|| {
        let definition: Result<Definition<LateSignal, ()>, BuildError> =
            Definition::build(DEAD_LETTER, 1, |saga, late| {
                let decide = step_fn(async |_cx, late: LateSignal| -> Result<(), StepError> {
                    let LateSignal { definition, key, signal, .. } = late;
                    Err(StepError::rejected(format!(
                        "{signal} came too late for {definition} {key}, which has no rule for it"
                    )))
                });
                let decided = saga.retryable("decide", decide, late);
                let _ = decided;
                saga.returns(())
            });
        definition.expect("the definition is sound").blueprint().clone()
    })
}

/// What sees to late signals of this definition.
pub(crate) fn rule(blueprint: &Blueprint) -> Arc<Blueprint> {
    blueprint.late.clone().unwrap_or_else(|| dead_letter().clone())
}

/// The saga that sees to this signal of a saga of `blueprint`: the same however often it is asked for.
pub(crate) fn new_saga(blueprint: &Blueprint, mut late: LateSignal) -> Result<NewSaga, TurnError> {
    let rule = rule(blueprint);
    let encode = |late: &LateSignal| late.encode().map_err(|error| blueprint.unencoded(error));
    let digest = rule.digest(encode(&late)?.digest());
    if blueprint.late.is_none() {
        // A human looks at it who may not hold the key.
        late.payload = seal_late(blueprint, &late)?;
    }
    let id = late.saga.derived(&format!("late {}", late.message_id));
    let body = encode_turn(&rule, id, &[Record::Started { input: encode(&late)?, parent: None }])?;
    Ok(NewSaga {
        id,
        definition: rule.name.to_string(),
        version: rule.version,
        // By the saga and not by the message: its id may be as long as a key can be.
        key: format!("{}/{id}", late.saga),
        input: digest,
        body,
        nonce: fastrand::i64(..),
    })
}
