//! The steps of the checkout workflows, each with its compensation beside it.

pub(crate) mod authorize;
pub(crate) mod capture;
pub(crate) mod clean_up;
pub(crate) mod confirm_order;
pub(crate) mod confirm_reservations;
pub(crate) mod create_order;
pub(crate) mod redeem_points;
pub(crate) mod reserve_stock;
pub(crate) mod totals;
pub(crate) mod validate;
