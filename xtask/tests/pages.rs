//! What the project's pages say of themselves: held by reading them.

#![allow(clippy::unwrap_used, reason = "tests, by nature")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use checkout_workflows::payment::HttpGateway;
use checkout_workflows::shop::Shop;
use checkout_workflows::{Services, confirm_checkout};

const PAGES: [&str; 5] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// The contents of the fenced blocks of one language, in order.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let fence = format!("```{language}\n");
    let opened = text.split(fence.as_str()).skip(1);
    opened.map(|rest| rest.split_once("```").unwrap().0).collect()
}

#[test]
fn the_first_two_commands_of_the_readme_are_the_main_job_and_the_tests() {
    let readme = page("README.md");
    let quick_start = readme.split_once("\n## Quick start\n").unwrap().1;
    let commands = blocks(quick_start, "sh");
    assert_eq!(commands[..2], ["cargo run --release -p examples --bin confirm-checkout\n", "cargo xtask test\n"]);
}

/// The one picture of this kind in the readme is the one given.
fn assert_drawn(kind: &str, expected: &str) {
    // One at a time: both pictures are in one file.
    static DRAWING: Mutex<()> = Mutex::new(());
    let _alone = DRAWING.lock().unwrap_or_else(PoisonError::into_inner);
    let readme = page("README.md");
    let drawn: Vec<_> = blocks(&readme, "mermaid").into_iter().filter(|block| block.starts_with(kind)).collect();
    assert_eq!(drawn.len(), 1);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(root().join("README.md"), readme.replace(drawn[0], expected)).unwrap();
    } else {
        assert_eq!(drawn[0], expected, "run the test with UPDATE_EXPECT=1 to draw the picture anew");
    }
}

#[test]
fn the_readmes_picture_of_a_step_is_drawn_from_the_transition_table() {
    assert_drawn("stateDiagram", &saga_core::machine::to_mermaid());
}

#[tokio::test]
async fn the_readmes_picture_of_the_checkout_is_drawn_from_its_definition() {
    let shop = Shop::connect("sqlite::memory:").await.unwrap();
    let gateway = HttpGateway::new("http://127.0.0.1", Duration::from_secs(1)).unwrap();
    let definition = confirm_checkout(&Services::new(shop, Arc::new(gateway))).unwrap();
    assert_drawn("flowchart", &definition.to_mermaid());
}

#[test]
fn what_the_pages_link_to_exists() {
    for name in PAGES {
        let text = page(name);
        let targets = text.split("](").skip(1).map(|rest| rest.split_once(')').unwrap().0);
        for target in targets.filter(|target| !target.starts_with("http") && !target.starts_with('#')) {
            assert!(root().join(target).exists(), "{name} links to {target}");
        }
    }
}
