//! Opt-ins: what customers have subscribed to. Every write keeps the version that it found.

mod opt_in;
mod rows;

use sqlx::AnyConnection;

use super::database::{Database, row, rows as select_rows};
use super::error::StoreError;
use super::key::{Compensation, once, undo};
use super::state::{Stored as _, allowed};
pub use opt_in::{NewOptIn, OptIn, OptInChange, OptInEvent, OptInState};
use rows::{SELECT, insert, load, previous, read, replace};

/// The store of opt-ins.
#[derive(Clone, Debug)]
pub struct OptIns {
    database: Database,
}

const CREATE: &str = "opt_ins.create";
const MODIFY: &str = "opt_ins.modify";

impl OptIns {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// Creates the opt-in.
    ///
    /// # Errors
    /// [`StoreError::Undone`], or the database's.
    pub async fn create(&self, key: &str, new: NewOptIn) -> Result<OptIn, StoreError> {
        let opt_in = new.into_opt_in(key);
        once(&self.database, CREATE, key, |tx| Box::pin(async move { insert(tx, opt_in).await })).await
    }

    /// The opt-in that was created under the step's key is cancelled, and refused when it comes later.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn undo_create(&self, step_key: &str, compensation_key: &str) -> Result<Compensation, StoreError> {
        let by = compensation_key.to_owned();
        undo(&self.database, CREATE, step_key, compensation_key, move |tx, made: OptIn| {
            Box::pin(async move {
                if load(tx, &made.opt_in_id).await?.state != OptInState::Cancelled {
                    advance(tx, &by, &made.opt_in_id, OptInEvent::Cancel).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Changes the opt-in. Its state stays.
    ///
    /// # Errors
    /// [`StoreError::Illegal`] when it is cancelled, [`StoreError::NotFound`], [`StoreError::Undone`], or the
    /// database's.
    pub async fn modify(&self, key: &str, change: OptInChange) -> Result<OptIn, StoreError> {
        let written_by = key.to_owned();
        once(&self.database, MODIFY, key, |tx| {
            Box::pin(async move {
                let before = load(tx, &change.opt_in_id).await?;
                let state = allowed(before.state.next(OptInEvent::Modify), &before.opt_in_id)?;
                let after = OptIn { state, ..change.apply_to(before.clone()) };
                replace(tx, &before, after, &written_by).await
            })
        })
        .await
    }

    /// The opt-in that was changed under the step's key is what it was before, and the change is refused when
    /// it comes later. One that was cancelled in the meantime stays so.
    ///
    /// # Errors
    /// [`StoreError::Changed`] when another write came after it and stands, or the database's.
    pub async fn undo_modify(&self, step_key: &str, compensation_key: &str) -> Result<Compensation, StoreError> {
        let step = step_key.to_owned();
        undo(&self.database, MODIFY, step_key, compensation_key, move |tx, opt_in: OptIn| {
            Box::pin(async move { restore(tx, &opt_in, &step).await })
        })
        .await
    }

    /// It becomes active, or active again.
    ///
    /// # Errors
    /// [`StoreError::Illegal`], or the database's.
    pub async fn activate(&self, key: &str, opt_in_id: &str) -> Result<OptIn, StoreError> {
        self.apply("opt_ins.activate", key, opt_in_id, OptInEvent::Activate).await
    }

    /// It is suspended.
    ///
    /// # Errors
    /// [`StoreError::Illegal`], or the database's.
    pub async fn suspend(&self, key: &str, opt_in_id: &str) -> Result<OptIn, StoreError> {
        self.apply("opt_ins.suspend", key, opt_in_id, OptInEvent::Suspend).await
    }

    /// It is cancelled.
    ///
    /// # Errors
    /// [`StoreError::Illegal`], or the database's.
    pub async fn cancel(&self, key: &str, opt_in_id: &str) -> Result<OptIn, StoreError> {
        self.apply("opt_ins.cancel", key, opt_in_id, OptInEvent::Cancel).await
    }

    /// An opt-in.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn get(&self, opt_in_id: &str) -> Result<Option<OptIn>, StoreError> {
        let mut connection = self.database.connection().await?;
        row(&mut connection, SELECT, opt_in_id).await?.as_ref().map(read).transpose()
    }

    /// The opt-ins of a customer.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn of_user(&self, user_id: &str) -> Result<Vec<OptIn>, StoreError> {
        let mut connection = self.database.connection().await?;
        let select = "SELECT * FROM opt_ins WHERE user_id = $1 ORDER BY opt_in_id";
        select_rows(&mut connection, select, user_id).await?.iter().map(read).collect()
    }

    async fn apply(
        &self,
        operation: &'static str,
        key: &str,
        id: &str,
        event: OptInEvent,
    ) -> Result<OptIn, StoreError> {
        let (id, by) = (id.to_owned(), key.to_owned());
        once(&self.database, operation, key, move |tx| Box::pin(async move { advance(tx, &by, &id, event).await }))
            .await
    }
}

async fn advance(tx: &mut AnyConnection, key: &str, id: &str, event: OptInEvent) -> Result<OptIn, StoreError> {
    let before = load(tx, id).await?;
    let state = allowed(before.state.next(event), id)?;
    replace(tx, &before, OptIn { state, ..before.clone() }, key).await
}

/// Takes back one change, of which `opt_in` is the result.
async fn restore(tx: &mut AnyConnection, opt_in: &OptIn, step_key: &str) -> Result<(), StoreError> {
    let now = load(tx, &opt_in.opt_in_id).await?;
    // A cancellation is final, and wins.
    if now.state == OptInState::Cancelled {
        return Ok(());
    }
    if now.written_by != step_key {
        let (id, written_by) = (now.opt_in_id, now.written_by);
        return Err(StoreError::Changed { entity: OptInState::ENTITY, id, written_by });
    }
    let before = previous(tx, opt_in).await?;
    let written_by = before.written_by.clone();
    replace(tx, &now, before, &written_by).await?;
    Ok(())
}
