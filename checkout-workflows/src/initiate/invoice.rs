//! The invoice: what each line item costs, and what is to be paid now.

use std::collections::BTreeMap;

use saga_core::{Step, StepContext, StepError, step_fn};
use serde::{Deserialize, Serialize};

use super::checkout::{InitiateServices, Initiation};
use super::facts::look_up;
use super::schema::DecimalError;
use super::store::{Amounts, StoreError, Stores};
use super::validate::{Facts, SURGE_SLOT_FEE, validate};
use crate::money::{Money, MoneyError};

/// What a checkout comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Invoice {
    /// What each new or changed line item costs, by id.
    pub amounts: BTreeMap<String, Amounts>,
    /// What is to be paid now.
    pub payable: Money,
    /// What of it is owed for what was had before: it stays owed when the payment fails.
    pub owed: Money,
}

/// The invoice engine: prices are those of now, whatever the client was shown.
pub(crate) fn hydrate(s: &InitiateServices) -> impl Step<Input = Initiation, Output = Invoice> + use<> {
    let stores = s.stores.clone();
    step_fn(move |cx: StepContext, begin: Initiation| {
        let stores = stores.clone();
        async move {
            let facts = look_up(&stores, &begin.request, begin.currency, cx.now()).await;
            let facts = facts.map_err(StoreError::into_step_error)?;
            // Prices, slots and credits may have changed since the request was taken.
            let payable = validate(&begin.request, &facts).map_err(|found| StepError::rejected(found.to_string()))?;
            let owed = facts.line_items.values().try_fold(Money::zero(begin.currency), |sum, item| sum.plus(item.due));
            let attached = if begin.request.attaches_arrears() { facts.arrears } else { Money::zero(begin.currency) };
            let owed = owed.and_then(|owed| owed.plus(attached)).map_err(unpayable)?;
            let amounts = amounts(&stores, &begin, &facts).await?;
            Ok(Invoice { amounts, payable, owed: smaller(owed, payable) })
        }
    })
}

/// What new and changed line items cost. Each bears the fee of its slot, the first new one other charges as
/// well, and discounts go to those that can bear them.
async fn amounts(stores: &Stores, begin: &Initiation, facts: &Facts) -> Result<BTreeMap<String, Amounts>, StepError> {
    let (request, zero) = (&begin.request, Money::zero(begin.currency));
    let fee = |id: &str| facts.slots.get(id).map_or(zero, |slot| slot.fee);
    let others = request.charges().iter().filter(|charge| charge.kind != SURGE_SLOT_FEE);
    let mut charges = sum(others.map(|charge| charge.value.to_money(begin.currency)), zero)?;
    let mut discount = sum(request.discounts().iter().map(|discount| discount.value.to_money(begin.currency)), zero)?;
    let mut amounts = BTreeMap::new();
    for item in &request.line_items.created {
        let plan = stores.catalogue.plan(&item.plan.plan_id).await.map_err(StoreError::into_step_error)?;
        let base = plan.map_or(zero, |plan| plan.price);
        let surge = charges.plus(fee(&item.line_item_id)).map_err(unpayable)?;
        let part = smaller(discount, base.plus(surge).map_err(unpayable)?);
        discount = discount.minus(part).map_err(unpayable)?;
        amounts.insert(item.line_item_id.clone(), Amounts::new(base, surge, zero, part).map_err(unpayable)?);
        charges = zero;
    }
    for item in &request.line_items.updated {
        if item.preferences.tip.is_none() && item.preferences.slot.is_none() {
            continue;
        }
        let known = stores.line_items.get(&item.line_item_id).await.map_err(StoreError::into_step_error)?;
        let Some(known) = known else { continue };
        let tip = sum(item.preferences.tip.iter().map(|tip| tip.amount.to_money(begin.currency)), known.amounts.tip())?;
        let surge = known.amounts.surge().plus(fee(&item.line_item_id)).map_err(unpayable)?;
        let changed = Amounts::new(known.amounts.base(), surge, tip, known.amounts.discount());
        amounts.insert(item.line_item_id.clone(), changed.map_err(unpayable)?);
    }
    Ok(amounts)
}

/// The amounts, on top of what there is already.
fn sum(mut amounts: impl Iterator<Item = Result<Money, DecimalError>>, before: Money) -> Result<Money, StepError> {
    let added = amounts.try_fold(before, |sum, amount| Ok::<_, DecimalError>(sum.plus(amount?)?));
    added.map_err(|error| StepError::rejected(error.to_string()))
}

fn smaller(one: Money, other: Money) -> Money {
    if one.minor() < other.minor() { one } else { other }
}

fn unpayable(error: MoneyError) -> StepError {
    StepError::rejected(error.to_string())
}
