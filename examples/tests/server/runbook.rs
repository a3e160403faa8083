//! The runbook works as it is written.

use std::process::Stdio;

use crate::fixture::Running;

#[tokio::test]
async fn an_operator_finds_stuck_checkouts_and_sees_to_them() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::on(dir.path(), &[]).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/runbook.sh");
    let run = tokio::process::Command::new("sh")
        .arg(script)
        .env("INITIATE_URL", &server.url)
        .env("INITIATE_DATABASE_URL", server.config.database_url.expose())
        .env("SAGACTL", env!("CARGO_BIN_EXE_sagactl"))
        .env("INITIATE_SERVER", env!("CARGO_BIN_EXE_initiate-server"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ran = tokio::time::timeout(std::time::Duration::from_secs(60), run).await.unwrap().unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && said.ends_with("runbook: done\n"), "{said}\n{wrong}");
    let books = server.books().await;
    assert_eq!(books["refunds"], 1, "{books}");
    assert!(books["netMinor"].as_object().unwrap().values().all(|net| net == 0), "{books}");
    server.stop().await;
}
