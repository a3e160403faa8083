//! What is tried again, what turns back, and how it is told.

use std::time::Duration;

use checkout_workflows::initiate::classify::{ErrorCode, ServiceError};
use saga_core::{Class, Effect, StepError};

fn step(code: ErrorCode) -> (Class, Effect) {
    let error: StepError = ServiceError::new(code, "because").into();
    (error.fault().class, error.fault().effect)
}

#[test]
fn payment_validation_and_time_limits_of_transactions_turn_back() {
    for code in ["PAYMENT_VALIDATION_ERROR_TYPE", "TRANSACTION_EXCEEDED_TIME_LIMIT_ERROR_CODE"] {
        let error: StepError = ServiceError::told(code, "because").into();
        assert_eq!(error.fault().class, Class::Terminal, "{code}");
    }
}

#[test]
fn time_outs_lock_conflicts_and_failures_of_others_are_tried_again() {
    assert_eq!(step(ErrorCode::NetworkTimeout), (Class::Transient, Effect::Unknown));
    assert_eq!(step(ErrorCode::ExternalFailure), (Class::Transient, Effect::Unknown));
    assert_eq!(step(ErrorCode::LockConflict), (Class::Transient, Effect::NotApplied));
    assert_eq!(step(ErrorCode::NetworkUnreachable), (Class::Transient, Effect::NotApplied));
}

#[test]
fn a_question_mark_keeps_the_class() {
    fn declined() -> Result<(), ServiceError> {
        Err(ServiceError::new(ErrorCode::InsufficientFunds, "no money"))
    }
    fn run() -> Result<(), StepError> {
        Ok(declined()?)
    }
    let error = run().unwrap_err();
    assert_eq!((error.fault().class, error.fault().effect), (Class::Terminal, Effect::NotApplied));
}

#[test]
fn a_code_that_nobody_knows_is_a_failure_of_the_other_service() {
    let error = ServiceError::told("E_STRANGE", "help");
    assert_eq!(error.code(), ErrorCode::ExternalFailure);
    assert!(error.message().contains("E_STRANGE"));
}

#[test]
fn the_code_of_a_failed_saga_is_found_again() {
    for code in ErrorCode::ALL {
        let error: StepError = ServiceError::new(code, "because").after(Duration::from_secs(1)).into();
        assert_eq!(ErrorCode::of_fault(error.fault()), code);
        assert_eq!(ErrorCode::from_code(code.as_str()), Some(code));
        assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        assert!((400..600).contains(&code.http_status()), "{code}");
    }
    assert_eq!(ErrorCode::of_fault(StepError::retry("strange").fault()), ErrorCode::ExternalFailure);
    assert_eq!(ErrorCode::of_fault(StepError::fatal("strange").fault()), ErrorCode::Internal);
}

#[tokio::test]
async fn a_lock_is_tried_again_and_a_broken_constraint_is_not() {
    use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
    use sqlx::{ConnectOptions, Executor};
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(dir.path().join("shop.db"))
        .create_if_missing(true)
        .busy_timeout(Duration::ZERO);
    let mut one: SqliteConnection = options.connect().await.unwrap();
    let mut other: SqliteConnection = options.connect().await.unwrap();
    one.execute("CREATE TABLE item (id TEXT PRIMARY KEY NOT NULL)").await.unwrap();
    one.execute("BEGIN IMMEDIATE").await.unwrap();
    let locked = other.execute("INSERT INTO item VALUES ('a')").await.unwrap_err();
    assert_eq!(ServiceError::from_sql(&locked).code(), ErrorCode::LockConflict);
    one.execute("INSERT INTO item VALUES ('a')").await.unwrap();
    let twice = one.execute("INSERT INTO item VALUES ('a')").await.unwrap_err();
    assert_eq!(ServiceError::from_sql(&twice).code(), ErrorCode::StateConflict);
}

#[test]
fn a_database_that_is_not_reached_in_time_was_not_asked() {
    let error = ServiceError::from_sql(&sqlx::Error::PoolTimedOut);
    assert_eq!(error.code(), ErrorCode::NetworkUnreachable);
}
