//! What the shop knows of its payments: one row for each authorization, which only ever learns.

use sqlx::{AnyConnection, Row as _};

use super::{Shop, ShopError};
use crate::payment::PaymentState;

impl Shop {
    /// Takes in what the gateway says of a payment, from an answer, a look-up or a webhook. Hearing it
    /// twice, late or out of order changes nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn learn_payment(&self, authorization_id: &str, news: PaymentState) -> Result<PaymentState, ShopError> {
        let id = authorization_id.to_owned();
        self.transaction(move |tx| Box::pin(async move { learn(tx, &id, news).await })).await
    }

    /// What is known of a payment.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn payment(&self, authorization_id: &str) -> Result<Option<PaymentState>, ShopError> {
        let query = sqlx::query("SELECT * FROM payments WHERE authorization_id = $1").bind(authorization_id.to_owned());
        query.fetch_optional(&self.pool).await?.as_ref().map(state).transpose()
    }
}

/// Compare and set: who comes second reads again.
pub(super) async fn learn(tx: &mut AnyConnection, id: &str, news: PaymentState) -> Result<PaymentState, ShopError> {
    sqlx::query("INSERT INTO payments VALUES ($1, 'none', 0, 0, 0, 0, 0, 0) ON CONFLICT DO NOTHING")
        .bind(id.to_owned())
        .execute(&mut *tx)
        .await?;
    loop {
        let row = sqlx::query("SELECT * FROM payments WHERE authorization_id = $1").bind(id.to_owned());
        let row = row.fetch_one(&mut *tx).await?;
        let (known, version) = (state(&row)?, row.try_get::<i64, _>("version")?);
        let knows = known.learn(news);
        if knows == known {
            return Ok(known);
        }
        let set = "UPDATE payments SET status = $1, authorized = $2, captured = $3, refunded = $4, voided = $5, \
                   expired = $6, version = version + 1 WHERE authorization_id = $7 AND version = $8";
        let set = sqlx::query(set)
            .bind(knows.status().as_str())
            .bind(knows.authorized)
            .bind(knows.captured)
            .bind(knows.refunded)
            .bind(i64::from(knows.voided))
            .bind(i64::from(knows.expired))
            .bind(id.to_owned())
            .bind(version);
        if set.execute(&mut *tx).await?.rows_affected() == 1 {
            return Ok(knows);
        }
    }
}

fn state(row: &sqlx::any::AnyRow) -> Result<PaymentState, ShopError> {
    Ok(PaymentState {
        authorized: row.try_get("authorized")?,
        captured: row.try_get("captured")?,
        refunded: row.try_get("refunded")?,
        voided: row.try_get::<i64, _>("voided")? != 0,
        expired: row.try_get::<i64, _>("expired")? != 0,
    })
}
