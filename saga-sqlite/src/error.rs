//! What SQLite and sqlx say, as the caller's next move. One table.

use saga_core::journal::JournalError;

/// Maps an error of a statement.
pub(crate) fn journal_error(doing: &'static str) -> impl Fn(sqlx::Error) -> JournalError {
    move |error| map(doing, error)
}

fn map(doing: &'static str, error: sqlx::Error) -> JournalError {
    let code = match &error {
        sqlx::Error::Database(database) => database.code().and_then(|code| code.parse::<i32>().ok()),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
            return JournalError::Corrupt { problem: format!("a row cannot be read while {doing}: {error}") };
        }
        sqlx::Error::Configuration(_) | sqlx::Error::Encode(_) => Some(CANTOPEN),
        _ => None,
    };
    // The lowest byte is the primary code: https://www.sqlite.org/rescode.html
    let problem = match code.map(|code| code & 0xff) {
        Some(PERM | READONLY | AUTH) => "the database file or its folder is read-only: make both writable",
        Some(CANTOPEN) => "the database file cannot be opened: see that its folder exists and is writable",
        Some(NOTADB) => "the file is not a SQLite database: name another one",
        Some(CORRUPT) => {
            return JournalError::Corrupt { problem: format!("SQLite finds the file damaged while {doing}: {error}") };
        }
        Some(ERROR | TOOBIG | MISMATCH | MISUSE | RANGE | SCHEMA) => "SQLite refuses the statement; see the cause",
        // Busy, locked, I/O error, disk full, interrupted, and all that has no code: it may pass.
        Some(_) | None => return JournalError::unavailable(doing, error),
    };
    JournalError::Misconfigured { problem: format!("{problem} (while {doing})"), source: Some(error.into()) }
}

const ERROR: i32 = 1;
const PERM: i32 = 3;
const READONLY: i32 = 8;
const CORRUPT: i32 = 11;
const CANTOPEN: i32 = 14;
const SCHEMA: i32 = 17;
const TOOBIG: i32 = 18;
const MISMATCH: i32 = 20;
const MISUSE: i32 = 21;
const AUTH: i32 = 23;
const RANGE: i32 = 25;
const NOTADB: i32 = 26;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sqlx_finds_wrong_by_itself_does_not_pass_and_what_it_cannot_name_may() {
        let decode = || sqlx::Error::Decode("no number".into());
        let column = sqlx::Error::ColumnDecode { index: "seq".to_owned(), source: "no number".into() };
        for unreadable in [decode(), column, sqlx::Error::ColumnNotFound("seq".to_owned())] {
            let told = map("reading", unreadable);
            assert!(matches!(&told, JournalError::Corrupt { problem } if problem.contains("while reading")), "{told}");
        }
        for wrong in [sqlx::Error::Configuration("no path".into()), sqlx::Error::Encode("too long".into())] {
            let told = map("opening", wrong);
            assert!(matches!(told, JournalError::Misconfigured { source: Some(_), .. }), "{told}");
        }
        let gone = sqlx::Error::Io(std::io::Error::other("the disk is gone"));
        for passing in [gone, sqlx::Error::WorkerCrashed] {
            assert!(map("writing", passing).is_unavailable());
        }
    }
}
