//! Post-selling preferences: where and how the service takes place, and for which line items.

use saga_core::{Compensation, Outcome, StepContext, step_fn};
use serde_json::json;

use super::{key, location};
use crate::initiate::checkout::{InitiateServices, Initiation};
use crate::initiate::schema::{InitiateCheckoutRequest, OpenObject};
use crate::initiate::store::{NewPreference, Preference, PreferenceMapping, StoreError};

/// The line items of a request that have wishes, with where; in the order of their preferences.
pub(crate) fn wishes(request: &InitiateCheckoutRequest) -> Vec<(String, Option<OpenObject>)> {
    let created = request.line_items.created.iter().filter_map(|item| {
        let wishes = item.initial_post_selling_preferences.as_ref()?;
        Some((item.line_item_id.clone(), wishes.location.clone()))
    });
    let updated = request.line_items.updated.iter();
    created.chain(updated.map(|item| (item.line_item_id.clone(), item.preferences.location.clone()))).collect()
}

pub(crate) fn create(s: &InitiateServices) -> impl Compensation<Input = Initiation, Output = Vec<Preference>> + use<> {
    let (creates, undoes) = (s.clone(), s.clone());
    step_fn(move |cx: StepContext, begin: Initiation| {
        let s = creates.clone();
        async move {
            let mut new = Vec::new();
            let request = begin.opened(&s.pii)?;
            for (line_item, place) in wishes(&request) {
                new.push(NewPreference {
                    execution_context_id: begin.execution_context_id.clone(),
                    user_id: begin.request.user_id.clone(),
                    location: location(&s, &begin, "preferences", &line_item, place.as_ref())?,
                    details: json!({ "lineItemId": line_item }),
                });
            }
            s.stores.preferences.create(&key(&cx), new).await.map_err(StoreError::into_step_error)
        }
    })
    .compensate(move |cx: StepContext, _: Initiation, _: Outcome<Vec<Preference>>| {
        let preferences = undoes.stores.preferences.clone();
        async move {
            let undone = preferences.undo_create(&key(&cx), &cx.key().to_string()).await;
            undone.map(drop).map_err(StoreError::into_step_error)
        }
    })
}

pub(crate) fn map(
    s: &InitiateServices,
) -> impl Compensation<Input = (Initiation, Vec<Preference>), Output = Vec<PreferenceMapping>> + use<> {
    let (maps, undoes) = (s.stores.preferences.clone(), s.stores.preferences.clone());
    step_fn(move |cx: StepContext, (begin, made): (Initiation, Vec<Preference>)| {
        let preferences = maps.clone();
        async move {
            let pairs = wishes(&begin.request).into_iter().zip(made);
            let mappings = pairs.map(|((line_item_id, _), preference)| PreferenceMapping {
                preference_id: preference.preference_id,
                line_item_id,
            });
            preferences.map(&key(&cx), mappings.collect()).await.map_err(StoreError::into_step_error)
        }
    })
    .compensate(move |cx: StepContext, _: (Initiation, Vec<Preference>), _: Outcome<Vec<PreferenceMapping>>| {
        let preferences = undoes.clone();
        async move {
            let undone = preferences.undo_map(&key(&cx), &cx.key().to_string()).await;
            undone.map(drop).map_err(StoreError::into_step_error)
        }
    })
}
