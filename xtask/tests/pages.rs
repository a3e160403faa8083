//! What the project's pages say of themselves: held by reading them.

#![allow(clippy::unwrap_used, reason = "tests, by nature")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use checkout_workflows::initiate::checkout::{InitiateServices, initiate_checkout};
use checkout_workflows::initiate::pii::KeyRing;
use checkout_workflows::initiate::store::Stores;
use checkout_workflows::initiate::vendor::HttpVendor;
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

/// The block of the readme after the comment is the one given.
fn assert_shown(comment: &str, expected: &str) {
    // One at a time: all blocks are in one file.
    static WRITING: Mutex<()> = Mutex::new(());
    let _alone = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let readme = page("README.md");
    let (before, rest) = readme.split_once(&format!("<!-- {comment} -->\n```")).unwrap();
    let (fence, rest) = rest.split_once('\n').unwrap();
    let at = rest.find("```").unwrap();
    let (shown, after) = rest.split_at(at);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let updated = format!("{before}<!-- {comment} -->\n```{fence}\n{expected}{after}");
        std::fs::write(root().join("README.md"), updated).unwrap();
    } else {
        assert_eq!(shown, expected, "run the test with UPDATE_EXPECT=1 to write the block anew");
    }
}

/// The builder in a source file: from `Definition::build` to the end of its closure, moved to the left.
fn builder(path: &str) -> String {
    let source = page(path);
    let from = source.find("    Definition::build(").unwrap();
    let length = source[from..].find("\n    })\n").unwrap();
    let lines = source[from..from + length].lines().chain(["    })"]);
    lines.map(|line| line.strip_prefix("    ").unwrap_or(line).to_owned() + "\n").collect()
}

#[test]
fn the_readmes_picture_of_a_step_is_drawn_from_the_transition_table() {
    assert_shown("picture of a step", &saga_core::machine::to_mermaid());
}

#[tokio::test]
async fn the_readmes_pictures_of_checkouts_are_drawn_from_their_definitions() {
    let shop = Shop::connect("sqlite::memory:").await.unwrap();
    let gateway = HttpGateway::new("http://127.0.0.1", Duration::from_secs(1)).unwrap();
    let confirm = confirm_checkout(&Services::new(shop, Arc::new(gateway))).unwrap();
    assert_shown("picture of confirm-checkout", &confirm.to_mermaid());
    let stores = Stores::open("sqlite::memory:").await.unwrap();
    let vendor = Arc::new(HttpVendor::new("http://127.0.0.1", Duration::from_secs(1)).unwrap());
    let keys = KeyRing::new("k1", &[0; 32]).unwrap();
    let initiate = initiate_checkout(&InitiateServices::new(stores, vendor, keys)).unwrap();
    assert_shown("picture of checkout-initiate", &initiate.to_mermaid());
}

#[test]
fn the_readme_shows_the_builders_as_they_are_in_the_code() {
    for path in ["checkout-workflows/src/confirm_checkout.rs", "checkout-workflows/src/initiate/checkout.rs"] {
        assert_shown(&format!("excerpt of {path}"), &builder(path));
    }
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
