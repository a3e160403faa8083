//! The table of seeded bugs says what is so.

#![allow(clippy::unwrap_used, reason = "tests, by nature")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const TESTS: [&str; 2] = ["saga-testkit/tests/seeded_bugs/main.rs", "checkout-workflows/tests/seeded_bugs/main.rs"];
const SOURCES: [&str; 2] = ["saga-core/src", "checkout-workflows/src"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The bug, the place and the test of each row.
fn rows() -> Vec<[String; 3]> {
    let page = text("reliability/seeded_bugs.md");
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect::<Vec<_>>();
    let rows = page.lines().filter(|line| line.starts_with("| M")).map(cells);
    rows.map(|row| [row[1].clone(), row[3].clone(), row[4].clone()]).collect()
}

/// The bugs that are named in the sources below, as `seeded("M1")`.
fn seeded(below: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            seeded(&path, found);
        } else {
            let text = std::fs::read_to_string(&path).unwrap();
            let named = text.split("seeded(\"").skip(1).filter_map(|rest| rest.split_once('"'));
            found.extend(named.map(|(bug, _)| bug.to_owned()));
        }
    }
}

#[test]
fn each_bug_has_one_row_with_its_place_and_its_test_or_a_reason() {
    let bugs: Vec<String> = rows().iter().map(|[bug, ..]| bug.clone()).collect();
    assert_eq!(bugs, (1..=27).map(|nth| format!("M{nth}")).collect::<Vec<_>>());
    for [bug, place, test] in rows() {
        if place == "does not apply" {
            assert!(test.len() > 40, "{bug}: say why");
            continue;
        }
        assert!(text(&place).contains(&format!("seeded(\"{bug}\")")), "{bug} is not in {place}");
        let finds = |path: &&str| {
            let tests = text(path);
            let Some(from) = tests.find(&test) else { return false };
            tests[from..].lines().take(4).any(|line| line.contains(&format!("\"{bug}\"")))
        };
        assert!(TESTS.iter().any(finds), "{bug}: there is no test {test}");
    }
}

#[test]
fn no_bug_is_seeded_that_has_no_row() {
    let mut found = BTreeSet::new();
    SOURCES.iter().for_each(|below| seeded(&root().join(below), &mut found));
    let listed = rows().into_iter().filter(|[_, place, _]| place != "does not apply").map(|[bug, ..]| bug);
    assert_eq!(found, listed.collect());
}

#[test]
fn the_table_counts_its_bugs() {
    let caught = rows().iter().filter(|[_, place, _]| place != "does not apply").count();
    assert!(text("reliability/seeded_bugs.md").contains(&format!("So {caught} defects are built in")));
}

#[test]
fn no_default_feature_builds_a_bug_in() {
    for manifest in ["saga-core/Cargo.toml", "saga-testkit/Cargo.toml", "checkout-workflows/Cargo.toml"] {
        let text = text(manifest);
        let asks = text.lines().filter(|line| line.contains("seeded-bugs") && !line.trim_start().starts_with('#'));
        for line in asks {
            let declares = line.starts_with("seeded-bugs = [") || line.starts_with("required-features");
            assert!(declares, "{manifest}: {line}");
        }
    }
}
