//! With a codec, nothing of a payload stands in the file, its log, or anything beside it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use saga_core::codec::AesGcmCodec;
use saga_core::{Definition, Engine, SagaOutcome, Source as _, step_fn};
use saga_sqlite::{SqliteJournal, start_in};
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

const MARKER: &str = "personal4711";
const HOUR: Duration = Duration::from_secs(3600);

fn echo() -> Definition<String, String> {
    Definition::build("echo", 1, |saga, text| {
        let waited = saga.wait_for::<String, _>("wait", "go", text.map(|_: String| Some(HOUR)));
        let say = async |_, (text, went): (String, Option<String>)| Ok(format!("{text} {}", went.unwrap_or_default()));
        let said = saga.query("say", step_fn(say), (text, waited));
        saga.returns(said)
    })
    .unwrap()
}

/// Whether any file in the directory holds the marker. The last connection to close moves the log into the
/// file: when one goes away while it looks, it looks again.
fn holds_marker(dir: &Path) -> bool {
    loop {
        let holds = |entry: std::io::Result<std::fs::DirEntry>| {
            let bytes = std::fs::read(entry?.path())?;
            Ok(bytes.windows(MARKER.len()).any(|window| window == MARKER.as_bytes()))
        };
        let found: std::io::Result<Vec<bool>> = std::fs::read_dir(dir).unwrap().map(holds).collect();
        match found {
            Ok(found) => return found.contains(&true),
            Err(gone) => assert_eq!(gone.kind(), std::io::ErrorKind::NotFound),
        }
    }
}

/// Starts a saga through the engine and one in a transaction of the host, and sees both through.
async fn run(dir: &Path, definition: &Definition<String, String>) {
    let path = dir.join("sagas.db");
    let journal = SqliteJournal::open(&path).await.unwrap();
    let engine = Engine::builder(journal).register(definition).poll_interval(Duration::from_millis(20));
    let engine = engine.open().await.unwrap();
    engine.signal("echo", "b", "go", &format!("{MARKER} early"), "go").await.unwrap();
    let one = engine.start(definition, "a", MARKER.to_owned()).await.unwrap();
    let mut host = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&path)).await.unwrap();
    let mut tx = host.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let other = start_in(&mut tx, definition, "b", &MARKER.to_owned()).await.unwrap();
    tx.commit().await.unwrap();
    host.close().await.unwrap();
    engine.signal("echo", "a", "go", &format!("{MARKER} late"), "go").await.unwrap();
    let outcomes = [one.outcome().await.unwrap(), engine.handle(definition, other).outcome().await.unwrap()];
    let expected = ["late", "early"].map(|when| SagaOutcome::Completed(format!("{MARKER} {MARKER} {when}")));
    assert_eq!(outcomes, expected);
    engine.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_payload_stands_in_the_file_or_beside_it() {
    let (plain, sealed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(plain.path(), &echo()).await;
    assert!(holds_marker(plain.path()), "the search finds what is there");
    let codec = AesGcmCodec::new("k1", [1; 32]).unwrap();
    run(sealed.path(), &echo().with_codec(Arc::new(codec))).await;
    assert!(!holds_marker(sealed.path()));
}
