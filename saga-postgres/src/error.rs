//! What Postgres and sqlx say, as the caller's next move. One table.

use saga_core::Epoch;
use saga_core::journal::JournalError;

/// What to do after a failed statement.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The lease is fenced.
    Fenced,
    /// A saga would end with a message unread. Nothing was written.
    Unread(sqlx::Error),
    /// The transaction lost against another one and left nothing: run it again at once.
    Again(sqlx::Error),
    /// The connection, or the server behind it, is of no use now.
    Broken(sqlx::Error),
    /// The server refused for a reason that passes: a lock time-out, too many connections.
    Busy(sqlx::Error),
    /// The statement or the set-up is wrong: trying again cannot help.
    Refused(sqlx::Error),
}

impl Failure {
    /// Whether the connection can be used again.
    pub(crate) fn keeps_connection(&self) -> bool {
        match self {
            Self::Fenced | Self::Unread(_) | Self::Again(_) | Self::Busy(_) | Self::Refused(_) => true,
            Self::Broken(_) => false,
        }
    }

    pub(crate) fn into_journal_error(self, doing: &'static str, epoch: Option<Epoch>) -> JournalError {
        match self {
            Self::Fenced => JournalError::Fenced { epoch: epoch.unwrap_or(Epoch(0)) },
            // An append settles this by itself, see there.
            Self::Unread(source) | Self::Again(source) | Self::Broken(source) | Self::Busy(source) => {
                JournalError::unavailable(doing, source)
            }
            Self::Refused(source) => JournalError::Misconfigured {
                problem: format!("Postgres refuses while {doing}: {}", hint(&source)),
                source: Some(source.into()),
            },
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let code = match &error {
            sqlx::Error::Database(database) => database.code().map(|code| code.into_owned()),
            sqlx::Error::Configuration(_)
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::Encode(_)
            | sqlx::Error::TypeNotFound { .. } => return Self::Refused(error),
            _ => return Self::Broken(error),
        };
        let code = code.as_deref().unwrap_or_default();
        match code {
            // Raised by our own functions.
            "SAG01" => Self::Fenced,
            "SAG03" => Self::Unread(error),
            // serialization_failure, deadlock_detected
            "40001" | "40P01" => Self::Again(error),
            // statement_completion_unknown
            "40003" => Self::Broken(error),
            // lock_not_available, query_canceled
            "55P03" | "57014" => Self::Busy(error),
            // read_only_sql_transaction: after a fail-over the old primary answers like this for a while
            "25006" => Self::Broken(error),
            // connection exceptions, insufficient resources, operator intervention, system error
            _ if ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => Self::Broken(error),
            _ => Self::Refused(error),
        }
    }
}

/// What to do about a refusal.
fn hint(error: &sqlx::Error) -> &'static str {
    let code = match error {
        sqlx::Error::Database(database) => database.code().map(|code| code.into_owned()),
        _ => None,
    };
    match code.as_deref() {
        Some("SAG02") => "the id of a new saga belongs to another saga; make a new id for each",
        Some("42P01" | "42883" | "3F000") => "the schema is not there or not complete; run the migrations",
        Some("42501") => "the role lacks privileges on the journal's schema; grant them",
        Some("26000" | "42P05") => {
            "prepared statements do not survive the proxy in between; switch on transaction_pooling"
        }
        Some("28P01" | "28000" | "3D000") => "the login or the database name is wrong",
        _ => "see the cause",
    }
}
