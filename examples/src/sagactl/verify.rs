//! `verify`: what the journal says against what is promised.

use saga_core::Engine;
use saga_core::SagaId;
use saga_core::engine::VerifyReport;
use serde_json::{Value, json};

use super::{SagactlError, table};

/// Verifies one saga, or all of them, and returns what to print.
pub(super) async fn verify(engine: &Engine, saga: Option<SagaId>, as_json: bool) -> Result<String, SagactlError> {
    let report = engine.verify(saga).await?;
    if let Some(saga) = saga.filter(|_| report.verified.is_empty() && report.unregistered.is_empty()) {
        return Err(SagactlError::NotFound { saga });
    }
    let text = if as_json { to_json(&report).to_string() } else { to_table(&report) };
    if report.is_clean() { Ok(text) } else { Err(SagactlError::NotVerified { text }) }
}

fn to_json(report: &VerifyReport) -> Value {
    let counts = |counts: &std::collections::BTreeMap<(String, u32), u64>| -> Vec<Value> {
        let count = |((definition, version), sagas): (&(String, u32), &u64)| json!({ "definition": definition, "version": version, "sagas": sagas });
        counts.iter().map(count).collect()
    };
    let violations = report.violations.iter().map(|violation| {
        json!({
            "invariant": violation.invariant.id(), "promise": violation.invariant.promise(),
            "saga": violation.saga.map(|saga| saga.to_string()),
            "step": violation.step.as_ref().map(ToString::to_string), "finding": violation.finding,
        })
    });
    json!({
        "verified": counts(&report.verified), "unregistered": counts(&report.unregistered),
        "violations": violations.collect::<Vec<_>>(),
    })
}

fn to_table(report: &VerifyReport) -> String {
    let kind = |(definition, version): &(String, u32)| format!("{definition} v{version}");
    let verified = report.verified.iter().map(|(of, sagas)| vec![kind(of), sagas.to_string(), String::new()]);
    let passed_over = |(of, sagas): (&(String, u32), &u64)| {
        vec![kind(of), sagas.to_string(), "passed over: not registered in this binary".to_owned()]
    };
    let unregistered = report.unregistered.iter().map(passed_over);
    let sagas = table(&["definition", "sagas", ""], verified.chain(unregistered).collect());
    if report.is_clean() {
        return format!("{sagas}\nnothing is wrong");
    }
    let row = |violation: &saga_core::verify::Violation| {
        vec![
            violation.invariant.id().to_owned(),
            violation.saga.map_or_else(String::new, |saga| saga.to_string()),
            violation.step.as_ref().map_or_else(String::new, ToString::to_string),
            violation.finding.clone(),
        ]
    };
    let found = table(&["invariant", "saga", "step", "finding"], report.violations.iter().map(row).collect());
    format!("{sagas}\n{found}")
}
