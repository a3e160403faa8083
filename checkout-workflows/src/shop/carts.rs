//! Carts and checkout sessions.

use serde::{Deserialize, Serialize};
use sqlx::Row as _;

use super::{Shop, ShopError, corrupt, now};
use crate::money::{Currency, Money};

/// One line of a cart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CartItem {
    /// The product.
    pub product_id: String,
    /// What exactly.
    pub sku: String,
    /// Its name, for people.
    pub name: String,
    /// How many.
    pub quantity: i64,
    /// For how much each.
    pub unit_price: Money,
    /// From where.
    pub warehouse_id: String,
}

/// How the customer pays. Tokens only: no card data ever comes here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentMethod {
    /// The gateway's token.
    pub id: String,
    /// `credit_card`, `cash_on_delivery` …
    #[serde(rename = "type")]
    pub kind: String,
}

impl PaymentMethod {
    /// Whether the customer pays at the door.
    #[must_use]
    pub fn is_cash_on_delivery(&self) -> bool {
        self.kind == "cash_on_delivery"
    }
}

/// A cart and its checkout session, as they are confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkout {
    /// The session.
    pub checkout_session_id: String,
    /// The cart.
    pub cart_id: String,
    /// The customer.
    pub customer_id: String,
    /// The currency of all amounts.
    pub currency: Currency,
    /// What is bought.
    pub items: Vec<CartItem>,
    /// How it is sent.
    pub shipping_method: String,
    /// How it is paid.
    pub payment_method: PaymentMethod,
    /// Discounts asked for.
    pub promotion_codes: Vec<String>,
    /// Points to be used.
    pub loyalty_points_to_use: i64,
}

/// A cart that has been filled and a session that has been filled in, ready to be confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCheckout {
    /// The cart and the session.
    pub checkout: Checkout,
    /// Where it goes, JSON.
    pub shipping_address: String,
    /// Where the bill goes, JSON.
    pub billing_address: String,
    /// What the customer wants to say.
    pub notes: String,
    /// Until when the session is good, in microseconds since 1970.
    pub expires_at: i64,
}

impl Shop {
    /// Stores a cart in status `checkout` and its session.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_checkout(&self, new: NewCheckout) -> Result<(), ShopError> {
        self.transaction(move |tx| {
            Box::pin(async move {
                let NewCheckout { checkout, shipping_address, billing_address, notes, expires_at } = new;
                sqlx::query("INSERT INTO carts VALUES ($1, $2, $3, 'checkout', 1)")
                    .bind(checkout.cart_id.clone())
                    .bind(checkout.customer_id.clone())
                    .bind(checkout.currency.code())
                    .execute(&mut *tx)
                    .await?;
                for (line, item) in checkout.items.into_iter().enumerate() {
                    sqlx::query("INSERT INTO cart_items VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
                        .bind(checkout.cart_id.clone())
                        .bind(i64::try_from(line).map_err(corrupt)?)
                        .bind(item.product_id)
                        .bind(item.sku)
                        .bind(item.name)
                        .bind(item.quantity)
                        .bind(item.unit_price.minor())
                        .bind(item.warehouse_id)
                        .execute(&mut *tx)
                        .await?;
                }
                sqlx::query("INSERT INTO checkout_sessions VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)")
                    .bind(checkout.checkout_session_id)
                    .bind(checkout.cart_id)
                    .bind(shipping_address)
                    .bind(billing_address)
                    .bind(checkout.shipping_method)
                    .bind(checkout.payment_method.kind)
                    .bind(checkout.payment_method.id)
                    .bind(serde_json::to_string(&checkout.promotion_codes).map_err(corrupt)?)
                    .bind(checkout.loyalty_points_to_use)
                    .bind(notes)
                    .bind(expires_at)
                    .execute(tx)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// The session and its cart, checked: not expired, the cart in status `checkout` and not empty,
    /// the shipping address there.
    ///
    /// # Errors
    /// A [`ShopError`] that says what is missing.
    pub async fn validate_checkout(&self, session_id: &str) -> Result<Checkout, ShopError> {
        let session = sqlx::query("SELECT * FROM checkout_sessions WHERE session_id = $1")
            .bind(session_id.to_owned())
            .fetch_optional(&self.pool)
            .await?
            .ok_or_else(|| ShopError::NoSession { session_id: session_id.to_owned() })?;
        if session.try_get::<i64, _>("expires_at")? < now() {
            return Err(ShopError::Expired { session_id: session_id.to_owned() });
        }
        let cart_id: String = session.try_get("cart_id")?;
        let bad = |why: &str| ShopError::BadCart { cart_id: cart_id.clone(), why: why.to_owned() };
        let cart = sqlx::query("SELECT * FROM carts WHERE cart_id = $1")
            .bind(cart_id.clone())
            .fetch_optional(&self.pool)
            .await?
            .ok_or_else(|| bad("it is gone"))?;
        let status: String = cart.try_get("status")?;
        if status != "checkout" || cart.try_get::<i64, _>("is_active")? != 1 {
            return Err(bad(&format!("its status is {status:?}")));
        }
        if session.try_get::<String, _>("shipping_address")?.is_empty() {
            return Err(bad("it has no shipping address"));
        }
        let currency = Currency::from_code(&cart.try_get::<String, _>("currency")?).map_err(corrupt)?;
        let items = self.items(&cart_id, currency).await?;
        if items.is_empty() {
            return Err(bad("it is empty"));
        }
        let codes: String = session.try_get("promotion_codes")?;
        Ok(Checkout {
            checkout_session_id: session_id.to_owned(),
            customer_id: cart.try_get("customer_id")?,
            currency,
            items,
            shipping_method: session.try_get("shipping_method")?,
            payment_method: PaymentMethod {
                id: session.try_get("payment_method_id")?,
                kind: session.try_get("payment_method_type")?,
            },
            promotion_codes: serde_json::from_str(&codes).map_err(corrupt)?,
            loyalty_points_to_use: session.try_get("loyalty_points_to_use")?,
            cart_id,
        })
    }

    async fn items(&self, cart_id: &str, currency: Currency) -> Result<Vec<CartItem>, ShopError> {
        let rows = sqlx::query("SELECT * FROM cart_items WHERE cart_id = $1 ORDER BY line")
            .bind(cart_id.to_owned())
            .fetch_all(&self.pool)
            .await?;
        let item = |row: &sqlx::any::AnyRow| {
            Ok(CartItem {
                product_id: row.try_get("product_id")?,
                sku: row.try_get("sku")?,
                name: row.try_get("name")?,
                quantity: row.try_get("quantity")?,
                unit_price: Money::new(row.try_get("unit_price")?, currency),
                warehouse_id: row.try_get("warehouse_id")?,
            })
        };
        rows.iter().map(item).collect()
    }

    /// The cart becomes inactive, the session is deleted. Doing it again changes nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn clean_up(&self, cart_id: &str, session_id: &str) -> Result<(), ShopError> {
        let (cart_id, session_id) = (cart_id.to_owned(), session_id.to_owned());
        self.transaction(|tx| {
            Box::pin(async move {
                let ordered = "UPDATE carts SET is_active = 0, status = 'ordered' WHERE cart_id = $1";
                sqlx::query(ordered).bind(cart_id).execute(&mut *tx).await?;
                sqlx::query("DELETE FROM checkout_sessions WHERE session_id = $1").bind(session_id).execute(tx).await?;
                Ok(())
            })
        })
        .await
    }
}
