//! The credentials in the headers of a request.

use axum_extra::{
    extract::cookie::Cookie,
    headers::{Authorization, HeaderMapExt, authorization::Bearer},
};
use http::{HeaderMap, header};

/// The name of the session cookie.
pub(crate) const COOKIE: &str = "session_token";

/// The token of `Authorization: Bearer …`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<String> {
    let authorization: Authorization<Bearer> = headers.typed_get()?;
    Some(authorization.token().trim().to_owned()).filter(|token| !token.is_empty())
}

/// The first session cookie that has a value.
pub(crate) fn session_cookie(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut cookies = lines.flat_map(Cookie::split_parse).filter_map(Result::ok);
    let cookie = cookies.find(|cookie| cookie.name() == COOKIE && !cookie.value().is_empty())?;
    Some(cookie.value().to_owned())
}
