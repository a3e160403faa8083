//! Pictures of definitions.

use std::fmt::Write as _;

use super::Blueprint;
use super::plan::Kind;

/// A Mermaid flowchart: solid arrows forward, dotted arrows from a step to its compensation.
pub(crate) fn mermaid(blueprint: &Blueprint) -> String {
    let mut out = String::from("flowchart TD\n");
    for (index, step) in blueprint.plan.steps().iter().enumerate() {
        let each = if step.each.is_some() { " for each" } else { "" };
        let name = format!("{}{each}", step.name.as_str().replace('"', "#quot;"));
        let _infallible = match step.kind {
            Kind::Query => writeln!(out, "    s{index}(\"{name}\")"),
            Kind::Compensatable => writeln!(out, "    s{index}[\"{name}\"]"),
            Kind::Pivot => writeln!(out, "    s{index}{{{{\"{name} (pivot)\"}}}}"),
            Kind::Retryable => writeln!(out, "    s{index}[[\"{name}\"]]"),
            Kind::When => writeln!(out, "    s{index}{{\"{name}?\"}}"),
            Kind::Signal => writeln!(out, "    s{index}[/\"{name} (wait for)\"\\]"),
            Kind::Sleep => writeln!(out, "    s{index}[/\"{name} (sleep)\"\\]"),
            Kind::BestEffort => writeln!(out, "    s{index}>\"{name} (best effort)\"]"),
        };
        for before in &step.after {
            let _infallible = writeln!(out, "    s{before} --> s{index}");
        }
        if let Some(guard) = step.guard {
            let _infallible = writeln!(out, "    s{guard} -. if so .-> s{index}");
        }
        if step.compensate.is_some() {
            let _infallible = writeln!(out, "    s{index} -.-> u{index}[/\"undo {name}\"/]");
        }
    }
    out
}
