//! The main job, where it refuses to begin.

#![allow(clippy::unwrap_used, reason = "tests")]

use examples::job::run::{Settings, run};

#[tokio::test]
async fn a_directory_that_holds_an_earlier_run_is_left_as_it_is() {
    let settings =
        Settings { carts: None, checkouts: 1, kills: 0, workers: 1, seed: 1, fault_rate: 0.0, database_url: None };
    for file in ["shop.db", "ledger.db"] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(file), "kept").unwrap();
        let refused = run(&settings, dir.path()).await.unwrap_err().to_string();
        assert!(refused.contains(file) && refused.contains("name an empty directory"), "{refused}");
        assert_eq!(std::fs::read_to_string(dir.path().join(file)).unwrap(), "kept");
    }
}
