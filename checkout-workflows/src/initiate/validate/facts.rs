//! What is known of a request's user, line items, plans, slots, coupon, credits and arrears.

use std::collections::BTreeMap;

use saga_core::Timestamp;

use crate::initiate::schema::UserType;
use crate::money::{Currency, Money};

/// What was looked up for a request, all of it before validation begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The time of the look-up.
    pub now: Timestamp,
    /// In which currency the city pays.
    pub currency: Currency,
    /// The user; none when there is none of this id.
    pub user: Option<UserFacts>,
    /// The line items of the request that exist, by id.
    pub line_items: BTreeMap<String, LineItemFacts>,
    /// The plans of the request that exist, by id.
    pub plans: BTreeMap<String, PlanFacts>,
    /// The slots that the request's line items book, by line item; none for those that book none, and for slots
    /// that do not exist.
    pub slots: BTreeMap<String, SlotFacts>,
    /// The coupon of the request, when it exists.
    pub coupon: Option<CouponFacts>,
    /// The user's credits.
    pub credits: Money,
    /// The user's open arrears.
    pub arrears: Money,
    /// Discounts that were granted besides coupons and credits, by type: at most so much.
    pub granted_discounts: BTreeMap<String, Money>,
    /// Whether cash is taken for this category and city.
    pub cash_allowed: bool,
}

impl Facts {
    /// Nothing is known but the time and the currency.
    #[must_use]
    pub fn none(now: Timestamp, currency: Currency) -> Self {
        Self {
            now,
            currency,
            user: None,
            line_items: BTreeMap::new(),
            plans: BTreeMap::new(),
            slots: BTreeMap::new(),
            coupon: None,
            credits: Money::zero(currency),
            arrears: Money::zero(currency),
            granted_discounts: BTreeMap::new(),
            cash_allowed: false,
        }
    }
}

/// A user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserFacts {
    /// Neither suspended nor gone.
    pub active: bool,
    /// As what the user is registered.
    pub user_type: UserType,
}

/// A line item that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineItemFacts {
    /// Whose it is.
    pub user_id: String,
    /// It was cancelled, for good.
    pub cancelled: bool,
    /// What is still to be paid for it.
    pub due: Money,
}

/// A plan of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanFacts {
    /// Whether it is sold.
    pub active: bool,
    /// The keys of the cities where it is sold; empty for everywhere.
    pub cities: Vec<String>,
    /// The key of its category.
    pub category: String,
    /// What a line item of it costs.
    pub price: Money,
    /// Whether it can be paid later.
    pub pay_later: bool,
}

/// The slot that a line item books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotFacts {
    /// Whether it is free, or the line item's already.
    pub available: bool,
    /// When it begins.
    pub begins: Timestamp,
    /// The key of the city where it is.
    pub city: String,
    /// The key of the category that it is for.
    pub category: String,
    /// What booking it adds to what is paid: its fee, less that of the slot that the line item had before.
    pub fee: Money,
}

/// A coupon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CouponFacts {
    /// Until when it can be used.
    pub valid_until: Timestamp,
    /// How often this user can still use it.
    pub uses_left: u32,
    /// The session that keeps it, if one does.
    pub locked_by: Option<String>,
    /// What the purchase must amount to at least.
    pub minimum: Money,
    /// What it gives at most for this purchase.
    pub worth: Money,
}
