//! The API's documentation, generated from the schemas.

use utoipa::OpenApi;

use super::schema::{
    Envelope, ErrorResponse, ExecutionContext, InitiateCheckoutAccepted, InitiateCheckoutRequest,
    InitiateCheckoutResponse, LineItemsConfirmed, LineItemsUpdated, PaymentCollectionRequirementFailed,
    PaymentCollectionRequirementSuccess,
};

/// The documentation: `InitiateApi::openapi()`.
#[derive(Clone, Copy, Debug, OpenApi)]
#[openapi(
    info(title = "orchestration.checkout.initiate", description = "Initiates checkouts of a services marketplace."),
    paths(initiate),
    components(schemas(
        Envelope<LineItemsUpdated>,
        Envelope<LineItemsConfirmed>,
        Envelope<PaymentCollectionRequirementSuccess>,
        Envelope<PaymentCollectionRequirementFailed>,
        ExecutionContext,
    ))
)]
pub struct InitiateApi;

#[utoipa::path(
    post,
    path = "/orchestration/checkout/initiate",
    request_body = InitiateCheckoutRequest,
    responses(
        (status = 200, description = "As far as it has come: complete, or waiting for its payment", body = InitiateCheckoutResponse),
        (status = 202, description = "It goes on in the background", body = InitiateCheckoutAccepted),
        (status = 400, description = "The body is no request", body = ErrorResponse),
        (status = 402, description = "The payment was declined", body = ErrorResponse),
        (status = 403, description = "Who is signed in may not do this", body = ErrorResponse),
        (status = 409, description = "Another request under this execution context", body = ErrorResponse),
        (status = 422, description = "The request breaks rules: all of them are told", body = ErrorResponse),
    )
)]
#[expect(dead_code, reason = "it carries the documentation of the endpoint, which the host serves")]
fn initiate() {}
