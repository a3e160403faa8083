//! The seeds of the fuzz targets hold, and so does whatever was found with them.
//!
//! `SAGA_DRAW_SEEDS=1` draws the seeds anew that are made from real records: of sagas that run here, and of the journal
//! that an earlier version has written. What cargo-fuzz has found lies beside them, and stays.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use checkout_workflows::Money;
use checkout_workflows::initiate::webhook::{PaymentOutcome, WebhookEvent, write};
use checkout_workflows::money::Currency;
use fuzz_targets::{TARGETS, world};
use saga_core::codec::Codec as _;
use saga_core::journal::{Journal, ListFilter, MemoryJournal, Message};
use saga_sqlite::SqliteJournal;

/// How often seeds are broken for each target.
const BROKEN: u64 = 100;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn seeds(target: &str) -> PathBuf {
    root().join("fuzz/seeds").join(target)
}

#[test]
fn every_seed_of_every_target_holds() {
    if std::env::var_os("SAGA_DRAW_SEEDS").is_some() {
        draw();
    }
    for target in TARGETS {
        let files: Vec<PathBuf> =
            std::fs::read_dir(seeds(target.name)).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!files.is_empty(), "{} has no seeds", target.name);
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            println!("{}", file.display());
            (target.run)(&bytes);
            // And cut off, which costs nothing more to try.
            (target.run)(&bytes[..bytes.len() / 2]);
        }
    }
}

/// A little of what cargo-fuzz does, for whoever has no cargo-fuzz; `SAGA_SEEDS` sets how often for each target.
#[test]
fn seeds_with_broken_bytes_hold() {
    let often = std::env::var("SAGA_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(BROKEN);
    for target in TARGETS {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(seeds(target.name)).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        let kept: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
        for nth in 0..often {
            let mut rng = fastrand::Rng::with_seed(nth);
            let mut bytes = rng.choice(&kept).unwrap().clone();
            for _ in 0..rng.usize(1..5) {
                break_something(&mut bytes, rng.choice(&kept).unwrap(), &mut rng);
            }
            let shown = String::from_utf8_lossy(&bytes).into_owned();
            let held = std::panic::catch_unwind(|| (target.run)(&bytes));
            assert!(held.is_ok(), "{} with the seed {nth}: {shown:?}", target.name);
        }
    }
}

/// One byte is another, some are gone, come twice, or come from another seed.
fn break_something(bytes: &mut Vec<u8>, other: &[u8], rng: &mut fastrand::Rng) {
    if bytes.is_empty() {
        return;
    }
    let at = rng.usize(..bytes.len());
    let end = (at + rng.usize(1..20)).min(bytes.len());
    match rng.u8(..6) {
        0 => bytes[at] ^= 1 << rng.u8(..8),
        1 => bytes[at] = *rng.choice(br#"0123456789-.eE"\{}[],:nt"#).unwrap(),
        2 => drop(bytes.drain(at..end)),
        3 => {
            let again = bytes[at..end].to_vec();
            drop(bytes.splice(end..end, again));
        }
        4 if !other.is_empty() => {
            let from = rng.usize(..other.len());
            let part = other[from..(from + rng.usize(1..200)).min(other.len())].to_vec();
            drop(bytes.splice(at..end, part));
        }
        _ => bytes.truncate(at),
    }
}

#[test]
fn every_target_has_a_binary_for_cargo_fuzz() {
    let named: BTreeSet<String> = TARGETS.iter().map(|target| format!("{}.rs", target.name)).collect();
    let files = std::fs::read_dir(root().join("fuzz/fuzz_targets")).unwrap();
    let files: BTreeSet<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, named);
    let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    let chore = std::fs::read_to_string(root().join("xtask/src/fuzz.rs")).unwrap();
    for target in TARGETS {
        assert!(chore.contains(&format!("\"{}\"", target.name)), "{} is not in cargo xtask fuzz", target.name);
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{} is not in fuzz/Cargo.toml", target.name);
        let binary = root().join("fuzz/fuzz_targets").join(format!("{}.rs", target.name));
        assert!(std::fs::read_to_string(binary).unwrap().contains(&format!("{}::run(bytes)", target.name)));
    }
}

/// Writes a seed, named by its place.
fn seed(target: &str, nth: usize, bytes: &[u8]) {
    let dir = seeds(target);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(format!("real-{nth:02}")), bytes).unwrap();
}

fn draw() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let histories = [world::in_no_time(ran()), runtime.block_on(of_an_earlier_version())].concat();
    for (nth, history) in histories.iter().enumerate() {
        seed("records", nth, history.join("\n").as_bytes());
        seed("history", nth, history.join("\n").as_bytes());
    }
    for (nth, definition) in world::definitions().iter().enumerate() {
        seed("outline", nth, serde_json::to_string(definition.outline()).unwrap().as_bytes());
    }
    let sealed = world::codec().seal("{\"a\":[1,null,\"x\"]}", b"here").unwrap();
    for (nth, text) in
        [format!("{sealed}\nhere"), format!("{sealed}\nthere"), "{\"plain\":1}\nhere".to_owned()].iter().enumerate()
    {
        seed("sealed", nth, text.as_bytes());
    }
    draw_messages();
    draw_checkouts();
    draw_numbers();
}

/// The turns of sagas that are run here, each in one of the ways that it can go, plain and sealed.
async fn ran() -> Vec<Vec<String>> {
    let mut told = Vec::new();
    for (nth, definition) in world::definitions().iter().enumerate() {
        for n in 1..=4 {
            let journal = MemoryJournal::new();
            // Sealed payloads open in the target, whose saga has this id.
            let engine = world::engine(&journal).saga_ids(move || world::saga_id(nth)).open().await.unwrap();
            engine.start(definition, "order-1", n).await.unwrap();
            engine.signal(definition.name(), "order-1", "go", &1_i64, "evt-1").await.ok();
            tokio::time::sleep(Duration::from_secs(60)).await;
            told.extend(turns(&journal).await);
            engine.shutdown(Duration::from_secs(5)).await;
        }
    }
    told
}

async fn of_an_earlier_version() -> Vec<Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sagas.db");
    std::fs::copy(root().join("saga-sqlite/tests/fixtures/0.1.0.db"), &file).unwrap();
    turns(&SqliteJournal::open(file).await.unwrap()).await
}

async fn turns(journal: &impl Journal) -> Vec<Vec<String>> {
    let sagas = journal.list(&ListFilter::default(), 100).await.unwrap();
    let sagas: Vec<_> = sagas.iter().map(|summary| summary.header.id).collect();
    let histories = journal.load(&sagas).await.unwrap();
    histories.into_iter().map(|history| history.turns.into_iter().map(|turn| turn.body).collect()).collect()
}

fn draw_messages() {
    let cancel = r#"{"cancel":{"actor":"ann","reason":"changed my mind"}}"#;
    let signal = r#"{"signal":{"name":"go","payload":1}}"#;
    let child = r#"{"child_ended":{"step":"take","end":{"completed":{"a":1}}}}"#;
    let locked = r#"{"locked":{"step":"lock","tokens":{"user:1":7}}}"#;
    for (nth, body) in [cancel, signal, child, locked, "\"recall\"", "\"release\""].iter().enumerate() {
        seed("messages", nth, body.as_bytes());
        seed("signals", nth, format!("go\n{nth}\n{body}").as_bytes());
    }
    let Message { body, .. } = Message {
        definition: "pay".to_owned(),
        key: "order-4".to_owned(),
        id: "m".to_owned(),
        body: signal.replace('1', "\"not a number\""),
    };
    seed("signals", 6, format!("other\n{{\"deep\":[[[]]]}}\n{body}\n{signal}").as_bytes());
}

fn draw_checkouts() {
    let dir = root().join("checkout-workflows/tests/fixtures/initiate");
    for (nth, name) in ["new_plan_purchase", "renewal_payable_zero", "tip_update"].iter().enumerate() {
        seed("initiate", nth, &std::fs::read(dir.join(format!("{name}.request.json"))).unwrap());
    }
    seed("initiate", 3, br#"{"executionContextId":"ctx_1"}"#);
    let event = |event_id: &str, outcome| WebhookEvent {
        event_id: event_id.to_owned(),
        requirement_id: "pcr_1".to_owned(),
        outcome,
    };
    let amount = Money::new(150_050, Currency::INR);
    let paid = PaymentOutcome::Paid { vendor_transaction_id: "txn_1".to_owned(), amount };
    let failed = PaymentOutcome::Failed { code: "declined".to_owned(), reason: "no cover".to_owned() };
    seed("webhook", 0, &write(&event("evt_1", paid)).unwrap());
    seed("webhook", 1, &write(&event("evt_2", failed)).unwrap());
    seed("webhook", 2, format!("t=1767225600,v1={}\n{{}}", "0f".repeat(32)).as_bytes());
}

fn draw_numbers() {
    for (nth, text) in ["\u{4}471.17", "\u{1}-0.05", "\u{2}500", "\u{3}1.005", "\u{0}12.340"].iter().enumerate() {
        seed("money", nth, text.as_bytes());
    }
    let numbers = |minor: i64, other: i64| {
        [&[4][..], &minor.to_be_bytes(), &other.to_be_bytes(), &[0, 0, 0, 1, 0, 0, 0, 2]].concat()
    };
    seed("money", 5, &numbers(47_117, 1_000));
    seed("money", 6, &numbers(i64::MIN, i64::MAX));
    let message = |kind: u8, body: &[u8]| {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind][..], &length, body].concat()
    };
    let asked = [
        message(b'P', b"s1\0SELECT saga.append($1)\0\0\0"),
        message(b'B', b"\0s1\0\0\0"),
        message(b'E', b"\0\0\0\0\0"),
        message(b'S', b""),
    ]
    .concat();
    let answered = [message(b'2', b""), message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat();
    let length = u16::try_from(asked.len()).unwrap().to_be_bytes();
    seed("wire", 0, &[&length[..], &asked, &answered].concat());
    seed("wire", 1, &[&[0, 9][..], &message(b'Q', b"COMMIT\0"), &message(b'Z', b"I")].concat());
}
