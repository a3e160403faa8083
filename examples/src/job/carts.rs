//! Carts from a JSON file, in the shape of the shop's own requests.

use std::collections::BTreeMap;
use std::path::Path;

use checkout_workflows::Money;
use checkout_workflows::money::Currency;
use checkout_workflows::shop::{CartItem, Checkout, NewCheckout, PaymentMethod};
use serde::Deserialize;
use serde_json::{Number, Value};

use super::JobError;

/// The carts that come with the job.
const BUILT_IN: &str = include_str!("../../data/carts.json");
/// What is never on the shelf.
const SOLD_OUT: &str = "SKU-RARE-1";

/// How a checkout is expected to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// Paid, or to be paid at the door.
    Completed,
    /// Undone.
    RolledBack,
    /// Waiting for a human.
    DeadLetter,
}

/// One cart, and what the customer wants done with it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CartTemplate {
    customer_id: String,
    currency: String,
    items: Vec<ItemTemplate>,
    shipping_address: Value,
    billing_address: Value,
    payment_method: PaymentMethod,
    shipping_method: String,
    promotion_codes: Vec<String>,
    loyalty_points_to_use: i64,
    notes: String,
    /// How it ends, when nothing else goes wrong.
    pub expect: Expected,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemTemplate {
    product_id: String,
    sku: String,
    name: String,
    quantity: i64,
    unit_price: Number,
    warehouse_id: String,
}

/// Reads carts from a file, or those that come with the job.
///
/// # Errors
/// When the file cannot be read or is not of the right shape.
pub fn read(file: Option<&Path>) -> Result<Vec<CartTemplate>, JobError> {
    let text = match file {
        Some(file) => std::fs::read_to_string(file)?,
        None => BUILT_IN.to_owned(),
    };
    let carts: Vec<CartTemplate> = serde_json::from_str(&text)?;
    if carts.is_empty() { Err("the file has no carts".into()) } else { Ok(carts) }
}

impl CartTemplate {
    /// The `nth` checkout made of this cart, with ids of its own.
    ///
    /// # Errors
    /// When an amount is not one of the currency.
    pub fn checkout(&self, nth: usize) -> Result<NewCheckout, JobError> {
        let currency = Currency::from_code(&self.currency)?;
        let item = |item: &ItemTemplate| {
            Ok::<_, JobError>(CartItem {
                product_id: item.product_id.clone(),
                sku: item.sku.clone(),
                name: item.name.clone(),
                quantity: item.quantity,
                // Decimal at the edge, exact from there on.
                unit_price: Money::from_decimal(&item.unit_price.to_string(), currency)
                    .or_else(|_| Money::from_decimal(item.unit_price.to_string().trim_end_matches(".0"), currency))?,
                warehouse_id: item.warehouse_id.clone(),
            })
        };
        Ok(NewCheckout {
            checkout: Checkout {
                checkout_session_id: format!("CHECKOUT-{nth:06}"),
                cart_id: format!("CART-{nth:06}"),
                customer_id: self.customer_id.clone(),
                currency,
                items: self.items.iter().map(item).collect::<Result<_, _>>()?,
                shipping_method: self.shipping_method.clone(),
                payment_method: self.payment_method.clone(),
                promotion_codes: self.promotion_codes.clone(),
                loyalty_points_to_use: self.loyalty_points_to_use,
            },
            shipping_address: self.shipping_address.to_string(),
            billing_address: self.billing_address.to_string(),
            notes: self.notes.clone(),
            expires_at: i64::MAX,
        })
    }
}

/// What must be on the shelves for these checkouts: twice of everything, but nothing of what is sold out.
#[must_use]
pub fn stock_for(checkouts: &[NewCheckout]) -> BTreeMap<(String, String), i64> {
    let mut stock: BTreeMap<(String, String), i64> = BTreeMap::new();
    for item in checkouts.iter().flat_map(|new| &new.checkout.items) {
        let quantity = if item.sku == SOLD_OUT { 0 } else { 2 * item.quantity };
        *stock.entry((item.sku.clone(), item.warehouse_id.clone())).or_default() += quantity;
    }
    stock
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_carts_that_come_with_the_job_are_exact_to_the_cent() {
        let carts = read(None).unwrap();
        assert!(carts.len() >= 40);
        for (nth, cart) in carts.iter().enumerate() {
            let checkout = cart.checkout(nth).unwrap();
            for (item, template) in checkout.checkout.items.iter().zip(&cart.items) {
                let cents = (template.unit_price.as_f64().unwrap() * 100.0).round();
                assert_eq!(item.unit_price.minor() as f64, cents);
            }
        }
        for expected in [Expected::Completed, Expected::RolledBack, Expected::DeadLetter] {
            assert!(carts.iter().any(|cart| cart.expect == expected));
        }
    }
}
