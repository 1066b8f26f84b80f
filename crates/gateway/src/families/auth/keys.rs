//! The public keys of access tokens.

use axum::extract::State;
use http::{HeaderMap, HeaderValue, header};
use turnpike_proto::auth::v1 as pb;

use crate::{app::Auth, http::Answer};

/// The public keys that verify access tokens (RFC 7517).
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "auth", security(()),
    responses((status = 200, description = "A JSON Web Key Set", content_type = "application/jwk-set+json")))]
pub(crate) async fn jwks(State(auth): State<Auth>) -> Answer<(HeaderMap, String)> {
    let keys = auth.client().get_jwks(pb::GetJwksRequest {}).await?.into_inner();
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300")),
    ];
    Ok((headers.into_iter().collect(), keys.jwks_json))
}
