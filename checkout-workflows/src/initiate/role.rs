//! Who may do what with checkouts.
//!
//! | | customer | partner | admin |
//! |---|---|---|---|
//! | initiate for oneself | yes | yes | no |
//! | initiate for somebody else | no | no | no |
//! | read, resume and cancel one's own checkout | yes | yes | yes |
//! | read, resume, roll back anybody's | no | no | yes |
//! | read audit records and steps | no | no | yes |
//!
//! An admin never pays for others: what is bought has a buyer who wanted it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::schema::{InitiateCheckoutRequest, UserType};

/// A role, as the token of the caller says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Role {
    /// Buys.
    Customer,
    /// Provides the service.
    Partner,
    /// Operates the system.
    Admin,
}

impl Role {
    /// The name in tokens.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "CUSTOMER",
            Self::Partner => "PARTNER",
            Self::Admin => "ADMIN",
        }
    }

    /// The user type that this role initiates checkouts as; an admin has none.
    #[must_use]
    pub fn user_type(self) -> Option<UserType> {
        match self {
            Self::Customer => Some(UserType::Customer),
            Self::Partner => Some(UserType::Partner),
            Self::Admin => None,
        }
    }
}

/// What can be done with a checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Begin one.
    Initiate,
    /// See how it stands.
    Read,
    /// Take it up again after a failure.
    Resume,
    /// Give it up before it is paid.
    Cancel,
    /// Turn it back by hand.
    RollBack,
    /// Read its steps, events and audit records.
    Audit,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Initiate, Self::Read, Self::Resume, Self::Cancel, Self::RollBack, Self::Audit];
}

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The user's id.
    pub user_id: String,
    /// The role.
    pub role: Role,
}

/// Somebody may not do something. It names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {role} may not {action} {whose}", role = role.as_str(), whose = if *own { "this checkout" } else { "a checkout of somebody else" })]
pub struct Forbidden {
    role: Role,
    action: Action,
    own: bool,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initiate => "initiate",
            Self::Read => "read",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::RollBack => "roll back",
            Self::Audit => "audit",
        })
    }
}

impl Principal {
    /// Whether they may do this with a checkout of this user.
    ///
    /// # Errors
    /// [`Forbidden`].
    pub fn may(&self, action: Action, owner: &str) -> Result<(), Forbidden> {
        let own = self.user_id == owner;
        let allowed = match (self.role, action) {
            (Role::Customer | Role::Partner, Action::Initiate | Action::Read | Action::Resume | Action::Cancel) => own,
            (Role::Customer | Role::Partner, Action::RollBack | Action::Audit) => false,
            (Role::Admin, Action::Initiate) => false,
            (Role::Admin, Action::Read | Action::Resume | Action::Cancel | Action::RollBack | Action::Audit) => true,
        };
        if allowed { Ok(()) } else { Err(Forbidden { role: self.role, action, own }) }
    }

    /// Whether they may make this request: for themselves, and as what they are.
    ///
    /// # Errors
    /// [`Forbidden`].
    pub fn may_initiate(&self, request: &InitiateCheckoutRequest) -> Result<(), Forbidden> {
        self.may(Action::Initiate, &request.user_id)?;
        if self.role.user_type() == Some(request.user_type) {
            Ok(())
        } else {
            Err(Forbidden { role: self.role, action: Action::Initiate, own: true })
        }
    }
}
