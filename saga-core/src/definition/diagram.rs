//! Pictures of definitions, and of how far a saga has come on one.

use std::fmt::Write as _;

use super::Blueprint;
use super::plan::{Kind, StepPlan};
use crate::machine::{Phase, SagaState};

/// The language of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// [Mermaid](https://mermaid.js.org), which many Markdown viewers draw.
    #[default]
    Mermaid,
    /// [DOT](https://graphviz.org/doc/info/lang.html), the language of Graphviz.
    Dot,
}

/// Draws the definition; with a saga's state, its steps are coloured by where they stand.
pub(crate) fn draw(blueprint: &Blueprint, state: Option<&SagaState>, format: Format) -> String {
    match format {
        Format::Mermaid => mermaid(blueprint, state),
        Format::Dot => dot(blueprint, state),
    }
}

/// How far a step has come, as a picture shows it: name and colour.
const PROGRESS: [(&str, &str); 7] = [
    ("done", "#9ccc65"),
    ("active", "#4fc3f7"),
    ("attention", "#ef5350"),
    ("failed", "#ffb74d"),
    ("undoing", "#ba68c8"),
    ("undone", "#cfd8dc"),
    ("passed", "#eeeeee"),
];

fn progress(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::Pending => None,
        Phase::Done => Some("done"),
        Phase::Running | Phase::Open | Phase::Waiting | Phase::Delegated => Some("active"),
        Phase::Blocked | Phase::UndoBlocked => Some("attention"),
        Phase::SoftFailed | Phase::NotApplied | Phase::Unknown => Some("failed"),
        Phase::Probing | Phase::ProbeWaiting | Phase::Undoing | Phase::UndoWaiting => Some("undoing"),
        Phase::UndoFailed | Phase::Recalling => Some("undoing"),
        Phase::Undone | Phase::Watching => Some("undone"),
        Phase::Skipped => Some("passed"),
    }
}

/// The steps of the definition with their progress: those that have made some.
fn progressed(blueprint: &Blueprint, state: &SagaState) -> Vec<(usize, &'static str)> {
    let of = |index: usize| match state.is_passed_over(&blueprint.plan, index) {
        true => Some("passed"),
        false => progress(state.steps()[index].phase()),
    };
    (0..blueprint.plan.steps().len()).filter_map(|index| Some((index, of(index)?))).collect()
}

/// What a step is called in a picture.
fn label(step: &StepPlan) -> String {
    let each = if step.each.is_some() { " for each" } else { "" };
    let what = match step.kind {
        Kind::Query | Kind::Compensatable | Kind::Retryable => "",
        Kind::Pivot => " (pivot)",
        Kind::When => "?",
        Kind::Signal => " (wait for)",
        Kind::Sleep => " (sleep)",
        Kind::BestEffort => " (best effort)",
        Kind::Publish => " (publish)",
        Kind::Lock => " (lock)",
        Kind::Child => " (child saga)",
    };
    format!("{}{each}{what}", step.name)
}

/// A Mermaid flowchart: solid arrows forward, dotted arrows from a step to its compensation.
fn mermaid(blueprint: &Blueprint, state: Option<&SagaState>) -> String {
    let mut out = String::from("flowchart TD\n");
    for (index, step) in blueprint.plan.steps().iter().enumerate() {
        let (open, close) = match step.kind {
            Kind::Query => ("(", ")"),
            Kind::Compensatable => ("[", "]"),
            Kind::Pivot => ("{{", "}}"),
            Kind::Retryable | Kind::Child => ("[[", "]]"),
            Kind::When => ("{", "}"),
            Kind::Signal | Kind::Sleep | Kind::Lock => ("[/", "\\]"),
            Kind::BestEffort | Kind::Publish => (">", "]"),
        };
        let quoted = label(step).replace('"', "#quot;");
        let _infallible = writeln!(out, "    s{index}{open}\"{quoted}\"{close}");
        for before in &step.after {
            let _infallible = writeln!(out, "    s{before} --> s{index}");
        }
        if let Some(guard) = step.guard {
            let _infallible = writeln!(out, "    s{guard} -. if so .-> s{index}");
        }
        if step.compensate.is_some() {
            let name = step.name.as_str().replace('"', "#quot;");
            let each = if step.each.is_some() { " for each" } else { "" };
            let _infallible = writeln!(out, "    s{index} -.-> u{index}[/\"undo {name}{each}\"/]");
        }
    }
    let Some(state) = state else { return out };
    for (name, colour) in PROGRESS {
        let _infallible = writeln!(out, "    classDef {name} fill:{colour}");
    }
    for (index, name) in progressed(blueprint, state) {
        let _infallible = writeln!(out, "    class s{index} {name}");
    }
    out
}

/// The same as a Graphviz digraph.
fn dot(blueprint: &Blueprint, state: Option<&SagaState>) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut out = format!("digraph \"{}\" {{\n", quoted(&format!("{} v{}", blueprint.name, blueprint.version)));
    let marks = state.map(|state| progressed(blueprint, state)).unwrap_or_default();
    for (index, step) in blueprint.plan.steps().iter().enumerate() {
        let shape = match step.kind {
            Kind::Query => "ellipse",
            Kind::Compensatable => "box",
            Kind::Pivot => "hexagon",
            Kind::Retryable | Kind::Child => "box3d",
            Kind::When => "diamond",
            Kind::Signal | Kind::Sleep | Kind::Lock => "invtrapezium",
            Kind::BestEffort | Kind::Publish => "cds",
        };
        let mark = marks.iter().find(|(marked, _)| *marked == index);
        let colour = mark.and_then(|(_, name)| PROGRESS.iter().find(|(known, _)| known == name));
        let fill = colour.map(|(_, colour)| format!(", style=filled, fillcolor=\"{colour}\"")).unwrap_or_default();
        let _infallible = writeln!(out, "    s{index} [label=\"{}\", shape={shape}{fill}];", quoted(&label(step)));
        for before in &step.after {
            let _infallible = writeln!(out, "    s{before} -> s{index};");
        }
        if let Some(guard) = step.guard {
            let _infallible = writeln!(out, "    s{guard} -> s{index} [style=dotted, label=\"if so\"];");
        }
        if step.compensate.is_some() {
            let name = quoted(&format!("undo {}", step.name));
            let _infallible = writeln!(out, "    u{index} [label=\"{name}\", shape=parallelogram];");
            let _infallible = writeln!(out, "    s{index} -> u{index} [style=dotted];");
        }
    }
    out.push_str("}\n");
    out
}
