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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::borrow::Cow;
    use std::error::Error as StdError;
    use std::fmt;

    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;

    /// What a server says, by its code.
    #[derive(Debug)]
    struct Said(&'static str);

    impl fmt::Display for Said {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl StdError for Said {}

    impl DatabaseError for Said {
        fn message(&self) -> &str {
            self.0
        }
        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.into())
        }
        fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
            self
        }
        fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
            self
        }
        fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
            self
        }
        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    fn said(code: &'static str) -> Failure {
        sqlx::Error::Database(Box::new(Said(code))).into()
    }

    fn name(failure: &Failure) -> String {
        format!("{failure:?}").split('(').next().unwrap().to_owned()
    }

    #[test]
    fn each_code_says_what_to_do_next() {
        let told = |code| name(&said(code));
        assert_eq!([told("SAG01"), told("SAG03")], ["Fenced", "Unread"]);
        assert_eq!([told("40001"), told("40P01"), told("40003")], ["Again", "Again", "Broken"]);
        assert_eq!([told("55P03"), told("57014")], ["Busy", "Busy"]);
        for gone in ["25006", "08006", "53300", "57P01", "58030"] {
            assert_eq!(told(gone), "Broken", "{gone}");
            assert!(!said(gone).keeps_connection(), "{gone}");
            assert!(said(gone).into_journal_error("writing", None).is_unavailable(), "{gone}");
        }
        for refused in ["42P01", "23505", "SAG02"] {
            assert_eq!(told(refused), "Refused", "{refused}");
            assert!(said(refused).keeps_connection(), "{refused}");
        }
        let fenced = said("SAG01").into_journal_error("writing", Some(Epoch(7)));
        assert!(matches!(fenced, JournalError::Fenced { epoch: Epoch(7) }), "{fenced}");
    }

    #[test]
    fn what_sqlx_finds_wrong_by_itself_is_refused_and_a_connection_that_fails_is_given_up() {
        let wrong = [
            sqlx::Error::Configuration("no host".into()),
            sqlx::Error::ColumnNotFound("seq".to_owned()),
            sqlx::Error::Decode("no number".into()),
            sqlx::Error::Encode("too long".into()),
        ];
        wrong.into_iter().for_each(|error| assert_eq!(name(&error.into()), "Refused"));
        let gone = sqlx::Error::Io(std::io::Error::other("reset"));
        [gone, sqlx::Error::PoolClosed].into_iter().for_each(|error| assert_eq!(name(&error.into()), "Broken"));
    }

    #[test]
    fn a_refusal_says_what_to_do_about_it() {
        let advice = [
            ("SAG02", "make a new id"),
            ("42P01", "run the migrations"),
            ("42883", "run the migrations"),
            ("3F000", "run the migrations"),
            ("42501", "grant"),
            ("26000", "transaction_pooling"),
            ("42P05", "transaction_pooling"),
            ("28P01", "login"),
            ("28000", "login"),
            ("3D000", "database name"),
            ("23505", "see the cause"),
        ];
        for (code, advised) in advice {
            let told = said(code).into_journal_error("writing", None).to_string();
            assert!(told.contains(advised), "{code}: {told}");
        }
    }
}
