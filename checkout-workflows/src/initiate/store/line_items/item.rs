//! A line item, its states, and what can be written to it.

use serde::{Deserialize, Serialize};

use super::super::error::IllegalTransition;
use super::super::location::Location;
use super::super::state::{illegal, stored};
use crate::money::{Currency, Money, MoneyError};

stored! {
    /// Where a line item stands.
    LineItemState of "line item" {
        /// Created.
        Created = "CREATED",
        /// Changed.
        Updated = "UPDATED",
        /// Paid for, or nothing was to be paid.
        Confirmed = "CONFIRMED",
        /// Cancelled, or taken back: for good.
        Cancelled = "CANCELLED",
    }
}

stored! {
    /// What can happen to a line item.
    LineItemEvent of "line item" {
        /// It is changed; a confirmed one is then to be confirmed again.
        Update = "update",
        /// It is confirmed.
        Confirm = "confirm",
        /// It is cancelled.
        Cancel = "cancel",
    }
}

impl LineItemState {
    /// What the event makes of it.
    ///
    /// # Errors
    /// When it does not allow the event.
    pub fn next(self, event: LineItemEvent) -> Result<Self, IllegalTransition> {
        use LineItemEvent::{Cancel, Confirm, Update};
        match (self, event) {
            (Self::Created | Self::Updated | Self::Confirmed, Update) => Ok(Self::Updated),
            (Self::Created | Self::Updated, Confirm) => Ok(Self::Confirmed),
            (Self::Created | Self::Updated | Self::Confirmed, Cancel) => Ok(Self::Cancelled),
            (Self::Confirmed, Confirm) | (Self::Cancelled, Update | Confirm | Cancel) => illegal(self, event),
        }
    }
}

/// What a line item costs. The parts always add up to what is payable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    base: Money,
    surge: Money,
    tip: Money,
    discount: Money,
    payable: Money,
}

impl Amounts {
    /// The price of the plan, the fee of the slot, the tip, and what is taken off.
    ///
    /// # Errors
    /// When the currencies differ, or the sum does not fit.
    pub fn new(base: Money, surge: Money, tip: Money, discount: Money) -> Result<Self, MoneyError> {
        let payable = base.plus(surge)?.plus(tip)?.minus(discount)?;
        Ok(Self { base, surge, tip, discount, payable })
    }

    /// Nothing.
    #[must_use]
    pub const fn zero(currency: Currency) -> Self {
        let zero = Money::zero(currency);
        Self { base: zero, surge: zero, tip: zero, discount: zero, payable: zero }
    }

    /// The price of the plan.
    #[must_use]
    pub const fn base(&self) -> Money {
        self.base
    }

    /// The fee of the slot.
    #[must_use]
    pub const fn surge(&self) -> Money {
        self.surge
    }

    /// The tip.
    #[must_use]
    pub const fn tip(&self) -> Money {
        self.tip
    }

    /// What is taken off.
    #[must_use]
    pub const fn discount(&self) -> Money {
        self.discount
    }

    /// What is to be paid.
    #[must_use]
    pub const fn payable(&self) -> Money {
        self.payable
    }
}

/// A line item to be created.
#[derive(Clone, Debug)]
pub struct NewLineItem {
    /// Its id.
    pub line_item_id: String,
    /// The execution context.
    pub execution_context_id: String,
    /// Whose it is.
    pub user_id: String,
    /// The payment group.
    pub payment_group_id: Option<String>,
    /// The plan that is bought.
    pub plan_id: String,
    /// When: the slot.
    pub slot_id: Option<String>,
    /// Where.
    pub location: Option<Location>,
    /// What it costs.
    pub amounts: Amounts,
}

impl NewLineItem {
    pub(super) fn into_item(self, key: &str) -> LineItem {
        LineItem {
            line_item_id: self.line_item_id,
            execution_context_id: self.execution_context_id,
            user_id: self.user_id,
            payment_group_id: self.payment_group_id,
            plan_id: self.plan_id,
            slot_id: self.slot_id,
            location: self.location,
            amounts: self.amounts,
            requirement_id: None,
            state: LineItemState::Created,
            revision: 1,
            written_by: key.to_owned(),
        }
    }
}

/// What is to be changed of a line item; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct LineItemChange {
    /// Which.
    pub line_item_id: String,
    /// Another payment group.
    pub payment_group_id: Option<String>,
    /// Another plan.
    pub plan_id: Option<String>,
    /// Another slot.
    pub slot_id: Option<String>,
    /// Another place.
    pub location: Option<Location>,
    /// Other amounts.
    pub amounts: Option<Amounts>,
    /// The payment that it waits for.
    pub requirement_id: Option<String>,
}

impl LineItemChange {
    pub(super) fn apply_to(self, item: LineItem) -> LineItem {
        LineItem {
            payment_group_id: self.payment_group_id.or(item.payment_group_id),
            plan_id: self.plan_id.unwrap_or(item.plan_id),
            slot_id: self.slot_id.or(item.slot_id),
            location: self.location.or(item.location),
            amounts: self.amounts.unwrap_or(item.amounts),
            requirement_id: self.requirement_id.or(item.requirement_id),
            ..item
        }
    }
}

/// Line items to be created and changed together.
#[derive(Clone, Debug, Default)]
pub struct Upsert {
    /// New ones.
    pub created: Vec<NewLineItem>,
    /// Changes of others.
    pub updated: Vec<LineItemChange>,
}

/// A line item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LineItem {
    /// Its id.
    pub line_item_id: String,
    /// The execution context that created it.
    pub execution_context_id: String,
    /// Whose it is.
    pub user_id: String,
    /// The payment group.
    pub payment_group_id: Option<String>,
    /// The plan that is bought.
    pub plan_id: String,
    /// When: the slot.
    pub slot_id: Option<String>,
    /// Where.
    pub location: Option<Location>,
    /// What it costs.
    pub amounts: Amounts,
    /// The payment that it waits for, or was confirmed by.
    pub requirement_id: Option<String>,
    /// Where it stands.
    pub state: LineItemState,
    /// Grows with every write, also with one that restores.
    pub revision: i64,
    /// The key of the operation that wrote these contents.
    pub written_by: String,
}
