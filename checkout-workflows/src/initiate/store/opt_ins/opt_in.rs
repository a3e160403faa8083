//! An opt-in, its states, and what can be written to it.

use serde::{Deserialize, Serialize};

use super::super::error::IllegalTransition;
use super::super::state::{illegal, stored};

stored! {
    /// Where an opt-in stands.
    OptInState of "opt-in" {
        /// Created.
        Created = "CREATED",
        /// Active.
        Active = "ACTIVE",
        /// Suspended.
        Suspended = "SUSPENDED",
        /// Cancelled, or taken back: for good.
        Cancelled = "CANCELLED",
    }
}

stored! {
    /// What can happen to an opt-in.
    OptInEvent of "opt-in" {
        /// It becomes active, or active again.
        Activate = "activate",
        /// It is changed; its state stays.
        Modify = "modify",
        /// It is suspended.
        Suspend = "suspend",
        /// It is cancelled.
        Cancel = "cancel",
    }
}

impl OptInState {
    /// What the event makes of it.
    ///
    /// # Errors
    /// When it does not allow the event.
    pub fn next(self, event: OptInEvent) -> Result<Self, IllegalTransition> {
        use OptInEvent::{Activate, Cancel, Modify, Suspend};
        match (self, event) {
            (Self::Created | Self::Suspended, Activate) => Ok(Self::Active),
            (Self::Active, Suspend) => Ok(Self::Suspended),
            (Self::Created | Self::Active | Self::Suspended, Modify) => Ok(self),
            (Self::Created | Self::Active | Self::Suspended, Cancel) => Ok(Self::Cancelled),
            (Self::Active, Activate)
            | (Self::Created | Self::Suspended, Suspend)
            | (Self::Cancelled, Activate | Modify | Suspend | Cancel) => illegal(self, event),
        }
    }
}

/// An opt-in to be created.
#[derive(Clone, Debug)]
pub struct NewOptIn {
    /// The execution context.
    pub execution_context_id: String,
    /// Whose it is.
    pub user_id: String,
    /// The plan.
    pub plan_id: String,
    /// The payment mandate, when there is one.
    pub mandate_id: Option<String>,
    /// What the customer wants of it.
    pub preferences: serde_json::Value,
}

impl NewOptIn {
    pub(super) fn into_opt_in(self, key: &str) -> OptIn {
        OptIn {
            opt_in_id: format!("optin_{key}"),
            execution_context_id: self.execution_context_id,
            user_id: self.user_id,
            plan_id: self.plan_id,
            mandate_id: self.mandate_id,
            preferences: self.preferences,
            state: OptInState::Created,
            revision: 1,
            written_by: key.to_owned(),
        }
    }
}

/// What is to be changed of an opt-in; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct OptInChange {
    /// Which.
    pub opt_in_id: String,
    /// Another plan.
    pub plan_id: Option<String>,
    /// Another mandate.
    pub mandate_id: Option<String>,
    /// Other preferences.
    pub preferences: Option<serde_json::Value>,
}

impl OptInChange {
    pub(super) fn apply_to(self, opt_in: OptIn) -> OptIn {
        OptIn {
            plan_id: self.plan_id.unwrap_or(opt_in.plan_id),
            mandate_id: self.mandate_id.or(opt_in.mandate_id),
            preferences: self.preferences.unwrap_or(opt_in.preferences),
            ..opt_in
        }
    }
}

/// An opt-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OptIn {
    /// Its id.
    pub opt_in_id: String,
    /// The execution context that created it.
    pub execution_context_id: String,
    /// Whose it is.
    pub user_id: String,
    /// The plan.
    pub plan_id: String,
    /// The payment mandate, when there is one.
    pub mandate_id: Option<String>,
    /// What the customer wants of it.
    pub preferences: serde_json::Value,
    /// Where it stands.
    pub state: OptInState,
    /// Grows with every write, also with one that restores.
    pub revision: i64,
    /// The key of the operation that wrote these contents.
    pub written_by: String,
}
