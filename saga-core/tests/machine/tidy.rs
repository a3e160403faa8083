//! The machine is pure, and files stay readable: held by reading the sources.

use std::path::{Path, PathBuf};

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn the_machine_has_no_clock_no_dice_and_no_io() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pure = sources(&root.join("src/machine"));
    pure.push(root.join("src/definition/plan.rs"));
    pure.push(root.join("src/retry.rs"));
    for path in pure {
        let text = std::fs::read_to_string(&path).unwrap();
        let code: String =
            text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        for impure in [
            "tokio",
            "async ",
            "await",
            "SystemTime",
            "Instant",
            "fastrand",
            "rand::",
            "HashMap",
            "std::fs",
            "std::net",
        ] {
            assert!(!code.contains(impure), "{} mentions {impure}", path.display());
        }
    }
}

#[test]
fn no_source_file_is_longer_than_six_hundred_lines() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for member in [
        "saga-core",
        "saga-postgres",
        "saga-sqlite",
        "saga-publish",
        "saga-testkit",
        "checkout-workflows",
        "examples",
        "benches",
        "campaigns",
        "xtask",
    ] {
        for path in sources(&workspace.join(member).join("src")) {
            let lines = std::fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= 600, "{} has {lines} lines: is it one concept?", path.display());
        }
    }
}
