//! What can be bought: from a file, and for `--insecure-dev` what the documented examples are about.

use std::path::Path;

use checkout_workflows::Money;
use checkout_workflows::initiate::store::{
    Amounts, CatalogueSeed, Credits, NewLineItem, Plan, StoreError, Stores, Upsert,
};
use checkout_workflows::money::Currency;

use super::run::ServerError;

/// Fills the catalogue from a file. What is there already stays.
pub(super) async fn from_file(stores: &Stores, path: &Path) -> Result<(), ServerError> {
    let seed: CatalogueSeed = serde_json::from_slice(&tokio::fs::read(path).await?)?;
    Ok(stores.catalogue.seed(seed).await?)
}

/// The plan that is bought in the first example, the line items of the other two, and credits for the third.
pub(super) async fn of_examples(stores: &Stores) -> Result<(), StoreError> {
    let inr = |rupees: i64| Money::new(rupees * 100, Currency::INR);
    let plan = Plan {
        plan_id: "plan_789".to_owned(),
        category: "cleaning".to_owned(),
        name: "Cleaning, four times".to_owned(),
        price: inr(1_500),
    };
    let credits = Credits { user_id: "user_123".to_owned(), balance: inr(1_000) };
    let seed = CatalogueSeed { plans: vec![plan], credits: vec![credits], ..CatalogueSeed::default() };
    stores.catalogue.seed(seed).await?;
    for (id, price) in [("li_existing_123", inr(1_500)), ("li_renewal_789", inr(1_000))] {
        let zero = Money::zero(Currency::INR);
        let Ok(amounts) = Amounts::new(price, zero, zero, zero) else { continue };
        let item = NewLineItem {
            line_item_id: id.to_owned(),
            execution_context_id: "examples".to_owned(),
            user_id: "user_123".to_owned(),
            payment_group_id: None,
            plan_id: "plan_789".to_owned(),
            slot_id: None,
            location: None,
            amounts,
        };
        // The keys make it once, however often the server starts.
        let upsert = Upsert { created: vec![item], updated: Vec::new() };
        stores.line_items.upsert(&format!("examples:{id}"), upsert).await?;
        stores.line_items.confirm(&format!("examples:{id}:confirmed"), vec![id.to_owned()]).await?;
    }
    Ok(())
}
