//! States and events: words that are stored, and a compare-and-set on them.

use sqlx::AnyConnection;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::error::{IllegalTransition, StoreError, corrupt};

/// An enum that is stored as words.
pub(super) trait Stored: Copy + 'static {
    /// What it is a state of.
    const ENTITY: &'static str;

    /// All of them.
    fn all() -> &'static [Self];

    /// The word.
    fn word(self) -> &'static str;
}

/// Makes an enum with a stored word for each variant, the same in the database and in JSON.
macro_rules! stored {
    ($(#[$about:meta])* $name:ident of $entity:literal { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word that is stored.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl $crate::initiate::store::state::Stored for $name {
            const ENTITY: &'static str = $entity;

            fn all() -> &'static [Self] {
                Self::ALL
            }

            fn word(self) -> &'static str {
                self.as_str()
            }
        }
    };
}
pub(super) use stored;

/// The refusal of an event by a state.
pub(super) fn illegal<S: Stored, T>(state: S, event: impl Stored) -> Result<T, IllegalTransition> {
    Err(IllegalTransition { entity: S::ENTITY, state: state.word(), event: event.word() })
}

/// The state in this column of a row.
pub(super) fn stored_state<S: Stored>(row: &AnyRow, column: &'static str) -> Result<S, StoreError> {
    let text: String = row.try_get(column)?;
    let found = S::all().iter().copied().find(|state| state.word() == text);
    found.ok_or_else(|| corrupt(format!("{} {column} {text:?}", S::ENTITY)))
}

/// Moves a row from the state that was read to the next, by an update of `$1` the next state, `$2` the id
/// and `$3` the state read.
pub(super) async fn compare_and_set<S: Stored>(
    tx: &mut AnyConnection,
    update: &'static str,
    id: &str,
    (read, next): (S, S),
) -> Result<(), StoreError> {
    let query = sqlx::query(update).bind(next.word()).bind(id.to_owned()).bind(read.word());
    written::<S>(query.execute(tx).await?.rows_affected(), id)
}

/// One row must have been written; none means that somebody else was quicker.
pub(super) fn written<S: Stored>(rows: u64, id: &str) -> Result<(), StoreError> {
    if rows == 1 { Ok(()) } else { Err(StoreError::Conflict { entity: S::ENTITY, id: id.to_owned() }) }
}

/// The next state, or the refusal with the entity's id.
pub(super) fn allowed<S>(next: Result<S, IllegalTransition>, id: &str) -> Result<S, StoreError> {
    next.map_err(|transition| StoreError::Illegal { id: id.to_owned(), transition })
}
