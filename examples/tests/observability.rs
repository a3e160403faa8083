//! The dashboard and the alerts ask for nothing that is not counted.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::Path;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Every name of a metric in a text, without what Prometheus adds to those of histograms.
fn metrics(text: &str) -> BTreeSet<String> {
    let names = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = names.filter(|name| name.starts_with("saga_") || name.starts_with("http_request"));
    let plain = |name: &str| {
        let suffix = ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| name.strip_suffix(suffix));
        suffix.unwrap_or(name).to_owned()
    };
    ours.map(plain).collect()
}

#[test]
fn the_dashboard_and_the_alerts_ask_only_for_what_is_counted() {
    let counted = metrics(&(read("../saga-core/src/engine/telemetry.rs") + &read("src/server/meter.rs")));
    let dashboard: serde_json::Value = serde_json::from_str(&read("observability/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let shown: String = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .map(|target| format!("{} ", target["expr"].as_str().unwrap()))
        .collect();
    let asked: BTreeSet<String> = metrics(&(shown + &read("observability/alerts.yml")));
    assert!(asked.len() > 12, "{asked:?}");
    assert_eq!(asked.difference(&counted).collect::<Vec<_>>(), Vec::<&String>::new());
}
