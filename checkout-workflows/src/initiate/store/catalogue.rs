//! Plans with their prices, slots with their fees, coupons and credits: a stand-in for the services that
//! own them. The flow only reads it; it is filled once, for tests and examples.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::database::{Database, money, row, time};
use super::error::{StoreError, corrupt};
use crate::money::{Currency, Money};

/// A plan that can be bought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Its id.
    pub plan_id: String,
    /// Its category.
    pub category: String,
    /// Its name.
    pub name: String,
    /// Its price.
    pub price: Money,
}

/// A time at which a service can be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Slot {
    /// Its id.
    pub slot_id: String,
    /// In which city.
    pub city: String,
    /// For which category.
    pub category: String,
    /// When.
    pub starts_at: DateTime<Utc>,
    /// How many can still be had. Who owns the slots counts, by what was confirmed.
    pub available: i64,
    /// What it costs beyond the plan's price.
    pub surge_fee: Money,
}

/// What a coupon takes off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Discount {
    /// A fixed amount.
    Amount(Money),
    /// A share, in hundredths of a per cent.
    BasisPoints(i64),
}

/// A coupon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Coupon {
    /// Its code.
    pub code: String,
    /// For payments in this currency.
    pub currency: Currency,
    /// What it takes off.
    pub discount: Discount,
    /// The end of its validity.
    pub valid_until: DateTime<Utc>,
}

/// What a customer has in credits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credits {
    /// Who.
    pub user_id: String,
    /// How much.
    pub balance: Money,
}

/// What the catalogue is filled with.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CatalogueSeed {
    /// Plans.
    pub plans: Vec<Plan>,
    /// Slots.
    pub slots: Vec<Slot>,
    /// Coupons.
    pub coupons: Vec<Coupon>,
    /// Credits.
    pub credits: Vec<Credits>,
}

/// The catalogue.
#[derive(Clone, Debug)]
pub struct Catalogue {
    database: Database,
}

impl Catalogue {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// Fills the catalogue. What is there already stays as it is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn seed(&self, seed: CatalogueSeed) -> Result<(), StoreError> {
        self.database.transaction(|tx| Box::pin(async move { insert(tx, seed).await })).await
    }

    /// A plan.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn plan(&self, plan_id: &str) -> Result<Option<Plan>, StoreError> {
        let found = self.one("SELECT * FROM catalogue_plans WHERE plan_id = $1", plan_id).await?;
        let plan = |row: &AnyRow| {
            Ok(Plan {
                plan_id: row.try_get("plan_id")?,
                category: row.try_get("category")?,
                name: row.try_get("name")?,
                price: money(row, "price")?,
            })
        };
        found.as_ref().map(plan).transpose()
    }

    /// A slot.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn slot(&self, slot_id: &str) -> Result<Option<Slot>, StoreError> {
        let found = self.one("SELECT * FROM catalogue_slots WHERE slot_id = $1", slot_id).await?;
        let slot = |row: &AnyRow| {
            Ok(Slot {
                slot_id: row.try_get("slot_id")?,
                city: row.try_get("city")?,
                category: row.try_get("category")?,
                starts_at: time(row, "starts_at")?,
                available: row.try_get("available")?,
                surge_fee: money(row, "surge_fee")?,
            })
        };
        found.as_ref().map(slot).transpose()
    }

    /// A coupon, also one that is not valid any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn coupon(&self, code: &str) -> Result<Option<Coupon>, StoreError> {
        let found = self.one("SELECT * FROM catalogue_coupons WHERE code = $1", code).await?;
        found.as_ref().map(coupon).transpose()
    }

    /// What a customer has in credits: nothing, when nothing is known.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn credits(&self, user_id: &str, currency: Currency) -> Result<Money, StoreError> {
        let select = "SELECT balance FROM catalogue_credits WHERE user_id = $1 AND currency = $2";
        let query = sqlx::query_as(select).bind(user_id.to_owned()).bind(currency.code());
        let balance: Option<(i64,)> = query.fetch_optional(self.database.pool()).await?;
        Ok(Money::new(balance.map_or(0, |(minor,)| minor), currency))
    }

    async fn one(&self, select: &'static str, id: &str) -> Result<Option<AnyRow>, StoreError> {
        row(&mut *self.database.connection().await?, select, id).await
    }
}

async fn insert(tx: &mut AnyConnection, seed: CatalogueSeed) -> Result<(), StoreError> {
    for plan in seed.plans {
        sqlx::query("INSERT INTO catalogue_plans VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING")
            .bind(plan.plan_id)
            .bind(plan.category)
            .bind(plan.name)
            .bind(plan.price.currency().code())
            .bind(plan.price.minor())
            .execute(&mut *tx)
            .await?;
    }
    for slot in seed.slots {
        sqlx::query("INSERT INTO catalogue_slots VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING")
            .bind(slot.slot_id)
            .bind(slot.city)
            .bind(slot.category)
            .bind(slot.starts_at.timestamp_micros())
            .bind(slot.available)
            .bind(slot.surge_fee.currency().code())
            .bind(slot.surge_fee.minor())
            .execute(&mut *tx)
            .await?;
    }
    for coupon in seed.coupons {
        let (amount, points) = match coupon.discount {
            Discount::Amount(amount) => (Some(amount.minor()), None),
            Discount::BasisPoints(points) => (None, Some(points)),
        };
        sqlx::query("INSERT INTO catalogue_coupons VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING")
            .bind(coupon.code)
            .bind(coupon.currency.code())
            .bind(amount)
            .bind(points)
            .bind(coupon.valid_until.timestamp_micros())
            .execute(&mut *tx)
            .await?;
    }
    for credits in seed.credits {
        sqlx::query("INSERT INTO catalogue_credits VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(credits.user_id)
            .bind(credits.balance.currency().code())
            .bind(credits.balance.minor())
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

fn coupon(row: &AnyRow) -> Result<Coupon, StoreError> {
    let currency = Currency::from_code(&row.try_get::<String, _>("currency")?).map_err(corrupt)?;
    let (amount, points): (Option<i64>, Option<i64>) = (row.try_get("amount")?, row.try_get("basis_points")?);
    let discount = match (amount, points) {
        (Some(minor), None) => Discount::Amount(Money::new(minor, currency)),
        (None, Some(points)) => Discount::BasisPoints(points),
        (Some(_), Some(_)) | (None, None) => return Err(corrupt("a coupon takes off one thing")),
    };
    Ok(Coupon { code: row.try_get("code")?, currency, discount, valid_until: time(row, "valid_until")? })
}
