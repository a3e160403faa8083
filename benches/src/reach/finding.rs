//! What a scenario found, and whether that is good enough.

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use serde::Serialize;

/// What a figure is to reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Not less than this.
    AtLeast(f64),
    /// Not more than this.
    AtMost(f64),
}

impl Goal {
    /// Whether this figure reaches it. One that is no number does not.
    #[must_use]
    pub fn is_reached(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    scenario: &'static str,
    measured: String,
    value: f64,
    unit: &'static str,
    goal: Option<Goal>,
    reached: Option<bool>,
}

impl Finding {
    /// A figure that is told for itself.
    #[must_use]
    pub fn told(scenario: &'static str, measured: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { scenario, measured: measured.into(), value, unit, goal: None, reached: None }
    }

    /// The same figure, with what it is to reach.
    #[must_use]
    pub fn aims(self, goal: Goal) -> Self {
        Self { goal: Some(goal), reached: Some(goal.is_reached(self.value)), ..self }
    }
}

/// Prints the findings as a table.
#[must_use]
pub fn print_findings(findings: &[Finding]) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(["scenario", "measured", "value", "", "goal", "reached"]);
    for finding in findings {
        let goal = finding.goal.map_or_else(String::new, |goal| match goal {
            Goal::AtLeast(least) => format!("at least {}", figure(least)),
            Goal::AtMost(most) => format!("at most {}", figure(most)),
        });
        let reached = finding.reached.map_or("", |reached| if reached { "yes" } else { "NO" });
        let value = figure(finding.value);
        table.add_row([finding.scenario, &finding.measured, &value, finding.unit, &goal, reached]);
    }
    table.to_string()
}

/// As many digits as tell something.
fn figure(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 1_000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_reached_at_its_very_figure_and_never_by_what_is_no_number() {
        assert!(Goal::AtLeast(0.9).is_reached(0.9) && !Goal::AtLeast(0.9).is_reached(0.89));
        assert!(Goal::AtMost(25.0).is_reached(25.0) && !Goal::AtMost(25.0).is_reached(25.1));
        assert!(!Goal::AtLeast(0.0).is_reached(f64::NAN) && !Goal::AtMost(0.0).is_reached(f64::NAN));
    }

    #[test]
    fn the_table_tells_the_goal_and_whether_it_is_reached() {
        let told = Finding::told("claim", "p50", 3.5, "ms");
        let table = print_findings(&[told.clone(), told.aims(Goal::AtMost(3.0))]);
        assert!(table.contains("| claim    | p50      | 3.50  | ms |           |         |"), "{table}");
        assert!(table.contains("| claim    | p50      | 3.50  | ms | at most 3 | NO      |"), "{table}");
    }
}
