//! Whether the engine has become slower: its ratios to the floor, which every machine can measure, beside those in the
//! repository, and its costs, which do not depend on the machine.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use crate::bench::{Extent, compare};
use crate::failure::Failure;
use crate::prepare;
use crate::stage::{Stages, cargo};

/// What may be lost of a ratio.
const LOSS_MAX: f64 = 0.15;
/// More is better, or less is.
const RATIOS: [(&str, bool); 2] = [("ratio_to_floor", true), ("p50_to_floor", false)];

/// What to look at.
#[derive(Args)]
pub(crate) struct BenchCheck {
    /// Only what does not depend on the machine: requests, commits, rows, bytes of write-ahead log, allocations. (A
    /// part of the tests.)
    #[arg(long)]
    costs_only: bool,
    /// The records of a comparison that was made before, by `cargo xtask bench --json`. Otherwise a short one is made,
    /// and what it finds lost is measured again before it is believed.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(check: &BenchCheck) -> Result<(), Failure> {
    prepare::run()?;
    let mut stages = Stages::default();
    stages.run("costs", cargo().args(["test", "--package", "benches", "--test", "costs"]))?;
    if check.costs_only {
        return Ok(());
    }
    let known = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/figures.json"))?;
    let lost = match &check.json {
        Some(file) => losses(&known, &read(file)?),
        None => {
            let now = read(&compare(&mut stages, Extent::Short)?)?;
            lost_twice(&known, &now, |then| read(&compare(&mut stages, case(then)?)?))?
        }
    };
    if lost.is_empty() { Ok(()) } else { Err(Failure::Slower { lost: lost.join("; ") }) }
}

/// The case that a record of the repository is of.
fn case(record: &Value) -> Result<Extent<'_>, Failure> {
    let case = || {
        let (steps, at_once) = (record["steps"].as_u64()?, record["concurrency"].as_u64()?);
        Some(Extent::Case { journal: record["journal"].as_str()?, steps, at_once })
    };
    case().ok_or_else(|| Failure::NoCase { record: record.to_string() })
}

/// What is lost in the second records and, measured again, is still lost: short rounds differ by more than the
/// tolerance now and then, and of a dozen cases one nearly always does.
fn lost_twice(
    known: &[Value],
    now: &[Value],
    mut again: impl FnMut(&Value) -> Result<Vec<Value>, Failure>,
) -> Result<Vec<String>, Failure> {
    let mut lost = Vec::new();
    for then in known.iter().map(std::slice::from_ref) {
        let once = losses(then, now);
        if once.is_empty() {
            continue;
        }
        println!("measured again: {}", once.join("; "));
        lost.extend(losses(then, &again(&then[0])?));
    }
    Ok(lost)
}

fn read(file: &Path) -> Result<Vec<Value>, Failure> {
    let name = || file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|source| Failure::NoCounts { file: name(), source })?;
    serde_json::from_str(&text).map_err(|source| Failure::NotRecords { file: name(), source })
}

/// Each ratio of the first records that has become worse in the second ones, or is not there.
fn losses(known: &[Value], now: &[Value]) -> Vec<String> {
    let case = |record: &Value| ["engine", "journal", "steps", "concurrency"].map(|field| record[field].to_string());
    let mut lost = Vec::new();
    for then in known {
        for (ratio, more_is_better) in RATIOS {
            let Some(was) = then[ratio].as_f64() else { continue };
            let what = case(then).join(" ");
            match now.iter().find(|now| case(now) == case(then)).and_then(|now| now[ratio].as_f64()) {
                Some(is) if is_lost(was, is, more_is_better) => {
                    lost.push(format!("{what}: {ratio} was {was:.2}, and is {is:.2}"));
                }
                Some(is) => println!("{what}: {ratio} was {was:.2}, and is {is:.2}"),
                None => lost.push(format!("{what}: {ratio} was {was:.2}, and was not measured")),
            }
        }
    }
    lost
}

fn is_lost(was: f64, is: f64, more_is_better: bool) -> bool {
    if more_is_better { is < was * (1.0 - LOSS_MAX) } else { is > was * (1.0 + LOSS_MAX) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ours(ratio: f64, p50: f64) -> Value {
        json!({ "engine": "ours", "journal": "sqlite", "steps": 3, "concurrency": 64,
                "ratio_to_floor": ratio, "p50_to_floor": p50 })
    }

    #[test]
    fn a_loss_of_more_than_the_tolerance_is_told() {
        let floor = json!({ "engine": "floor", "journal": "sqlite", "steps": 3, "concurrency": 64,
                            "ratio_to_floor": null });
        let known = [floor, ours(0.6, 1.2)];
        assert_eq!(losses(&known, &[ours(0.52, 1.3)]), Vec::<String>::new());
        assert_eq!(losses(&known, &[ours(0.5, 1.2)]).len(), 1);
        assert_eq!(losses(&known, &[ours(0.6, 1.4)]).len(), 1);
    }

    #[test]
    fn a_loss_counts_when_it_is_measured_twice() -> Result<(), Failure> {
        let known = [ours(0.6, 1.2)];
        let twice = |now: f64, again: f64| lost_twice(&known, &[ours(now, 1.2)], |_| Ok(vec![ours(again, 1.2)]));
        assert_eq!(twice(0.5, 0.6)?, Vec::<String>::new());
        assert_eq!(twice(0.5, 0.5)?.len(), 1);
        let none = lost_twice(&known, &known, |_| unreachable!("nothing is lost"))?;
        assert_eq!(none, Vec::<String>::new());
        Ok(())
    }

    #[test]
    fn a_case_that_is_not_measured_any_more_is_told() {
        assert_eq!(losses(&[ours(0.6, 1.2)], &[]).len(), 2);
    }
}
