//! `GET /openapi.json`: the documentation, generated from the handlers and the schemas.

use axum::Json;
use checkout_workflows::initiate::schema::{Envelope, LineItemsConfirmed, LineItemsUpdated};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::app::OPENAPI;
use super::{event, execution_context, initiate, meter, probe, turn_back, webhook};

#[derive(OpenApi)]
#[openapi(
    info(title = "orchestration.checkout.initiate", description = "Initiates checkouts of a services marketplace."),
    paths(
        initiate::initiate,
        execution_context::execution_context,
        turn_back::cancel,
        turn_back::roll_back,
        webhook::payment,
        event::line_items_confirmed,
        probe::health,
        probe::ready,
        meter::metrics,
        openapi,
    ),
    components(schemas(Envelope<LineItemsUpdated>, Envelope<LineItemsConfirmed>)),
    modifiers(&Token)
)]
struct ServerApi;

struct Token;

impl Modify for Token {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// This documentation.
#[utoipa::path(
    get,
    path = OPENAPI,
    tag = "operation",
    responses((status = 200, description = "The documentation", body = serde_json::Value))
)]
pub(super) async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(ServerApi::openapi())
}
