//! One request of a connection is heard.
//!
//! Without keep-alive actix-http 3 reads no further request, but answers all that came along with the first
//! one (`h1/dispatcher.rs`): a client that sends a hundred at once would have a hundred scrapes made.

use std::cell::Cell;

use actix_web::{
    Error, HttpResponse,
    body::MessageBody,
    dev::{Extensions, ServiceRequest, ServiceResponse},
    middleware::Next,
};

/// Whether the connection's request was heard.
#[derive(Default)]
struct Heard(Cell<bool>);

/// Of each connection, when it begins.
pub(super) fn begins(of_connection: &mut Extensions) {
    of_connection.insert(Heard::default());
}

/// What comes behind the first request is refused unheard.
pub(super) async fn is_first(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let heard = request.conn_data::<Heard>();
    if heard.is_some_and(|heard| heard.0.replace(true)) {
        let refusal = HttpResponse::ServiceUnavailable().finish();
        return Ok(request.into_response(refusal).map_into_right_body());
    }
    next.call(request)
        .await
        .map(ServiceResponse::map_into_left_body)
}
