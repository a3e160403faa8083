//! Loyalty points: used with a checkout, and given back when it is undone.

use super::{Shop, ShopError, begin_operation, undo_operation};

impl Shop {
    /// Gives a customer points.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn credit_points(&self, customer_id: &str, points: i64) -> Result<(), ShopError> {
        let credit = "INSERT INTO loyalty_accounts (customer_id, points) VALUES ($1, $2) \
                      ON CONFLICT (customer_id) DO UPDATE SET points = loyalty_accounts.points + excluded.points";
        sqlx::query(credit).bind(customer_id.to_owned()).bind(points).execute(&self.pool).await?;
        Ok(())
    }

    /// How many points a customer has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn points(&self, customer_id: &str) -> Result<i64, ShopError> {
        let query = sqlx::query_as("SELECT points FROM loyalty_accounts WHERE customer_id = $1");
        let points: Option<(i64,)> = query.bind(customer_id.to_owned()).fetch_optional(&self.pool).await?;
        Ok(points.map_or(0, |(points,)| points))
    }

    /// Uses points, under the operation's key. Again under the same key it changes nothing; under a key
    /// that was given back it is refused.
    ///
    /// # Errors
    /// [`ShopError::TooFewPoints`], [`ShopError::Undone`], or the database's.
    pub async fn redeem_points(&self, key: &str, customer_id: &str, points: i64) -> Result<(), ShopError> {
        if points <= 0 {
            return Ok(());
        }
        let (key, customer_id) = (key.to_owned(), customer_id.to_owned());
        self.transaction(move |tx| {
            Box::pin(async move {
                if !begin_operation(tx, &key).await? {
                    return Ok(());
                }
                let take = "UPDATE loyalty_accounts SET points = points - $1 WHERE customer_id = $2 AND points >= $1";
                let taken = sqlx::query(take).bind(points).bind(customer_id.clone()).execute(&mut *tx).await?;
                if taken.rows_affected() == 0 {
                    return Err(ShopError::TooFewPoints { customer_id, wanted: points });
                }
                sqlx::query("INSERT INTO point_redemptions VALUES ($1, $2, $3, 'used')")
                    .bind(key)
                    .bind(customer_id)
                    .bind(points)
                    .execute(tx)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// Gives back what was used under the key, and refuses what comes under it later.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn return_points(&self, key: &str) -> Result<(), ShopError> {
        let key = key.to_owned();
        self.transaction(move |tx| {
            Box::pin(async move {
                undo_operation(tx, &key).await?;
                let once = "UPDATE point_redemptions SET status = 'returned' WHERE operation_key = $1 AND status = 'used'";
                if sqlx::query(once).bind(key.clone()).execute(&mut *tx).await?.rows_affected() == 1 {
                    let give = "UPDATE loyalty_accounts SET points = points + \
                                (SELECT r.points FROM point_redemptions r WHERE r.operation_key = $1) WHERE customer_id = \
                                (SELECT r.customer_id FROM point_redemptions r WHERE r.operation_key = $1)";
                    sqlx::query(give).bind(key).execute(tx).await?;
                }
                Ok(())
            })
        })
        .await
    }
}
