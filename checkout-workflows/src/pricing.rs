//! Totals: a pure function of what is in the cart and what the session asks for.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::money::{Money, MoneyError};
use crate::shop::{CartItem, Checkout};

/// The shop's rates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Shipping by method, in minor units.
    pub shipping: Vec<(String, i64)>,
    /// Discounts by promotion code, in hundredths of a per cent of the subtotal.
    pub promotions: Vec<(String, i64)>,
    /// Tax on goods after discounts, in hundredths of a per cent.
    pub tax_basis_points: i64,
    /// What one loyalty point is worth, in minor units.
    pub loyalty_point_minor: i64,
}

impl Default for Rates {
    fn default() -> Self {
        let named = |pairs: &[(&str, i64)]| pairs.iter().map(|(name, rate)| ((*name).to_owned(), *rate)).collect();
        Self {
            shipping: named(&[("standard", 1_599), ("express", 2_999), ("pickup", 0)]),
            promotions: named(&[("SUMMER2024", 1_500), ("WELCOME10", 1_000), ("FREE100", 10_000)]),
            tax_basis_points: 880,
            loyalty_point_minor: 1,
        }
    }
}

/// What the customer pays, and how it comes about. All in minor units of one currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// The goods.
    pub subtotal: Money,
    /// What is taken off.
    pub total_discounts: Money,
    /// Shipping.
    pub shipping: Money,
    /// Tax.
    pub tax: Money,
    /// What is to be paid.
    pub total: Money,
}

/// The session asks for something that the shop does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PricingError {
    /// There is no such way of shipping.
    #[error("there is no shipping method {method:?}")]
    Shipping {
        /// The method.
        method: String,
    },
    /// There is no such promotion.
    #[error("there is no promotion {code:?}")]
    Promotion {
        /// The code.
        code: String,
    },
    /// The amounts do not add up.
    #[error(transparent)]
    Money(#[from] MoneyError),
}

impl Rates {
    /// The authoritative totals of a checkout.
    ///
    /// # Errors
    /// When the session names a shipping method or promotion that does not exist.
    pub fn totals(&self, checkout: &Checkout) -> Result<Totals, PricingError> {
        let currency = checkout.currency;
        let subtotal = checkout.items.iter().try_fold(Money::zero(currency), |sum, item| sum.plus(line(item)?))?;
        let total_discounts = self.discounts(checkout, subtotal)?;
        let goods = subtotal.minus(total_discounts)?;
        let method = &checkout.shipping_method;
        let shipping = self.shipping.iter().find(|(name, _)| name == method);
        let shipping = shipping.ok_or_else(|| PricingError::Shipping { method: method.clone() })?.1;
        // Nothing is charged for bringing what costs nothing.
        let shipping = if goods.minor() == 0 { Money::zero(currency) } else { Money::new(shipping, currency) };
        let tax = goods.basis_points(self.tax_basis_points)?;
        let total = goods.plus(shipping)?.plus(tax)?;
        Ok(Totals { subtotal, total_discounts, shipping, tax, total })
    }

    fn discounts(&self, checkout: &Checkout, subtotal: Money) -> Result<Money, PricingError> {
        let mut discounts =
            Money::new(checkout.loyalty_points_to_use.saturating_mul(self.loyalty_point_minor), checkout.currency);
        // A code that is named twice counts once.
        for code in checkout.promotion_codes.iter().collect::<BTreeSet<_>>() {
            let promotion = self.promotions.iter().find(|(name, _)| name == code);
            let (_, points) = promotion.ok_or_else(|| PricingError::Promotion { code: code.clone() })?;
            discounts = discounts.plus(subtotal.basis_points(*points)?)?;
        }
        Ok(if discounts.minor() > subtotal.minor() { subtotal } else { discounts })
    }
}

fn line(item: &CartItem) -> Result<Money, MoneyError> {
    item.unit_price.times(item.quantity)
}
