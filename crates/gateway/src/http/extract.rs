//! Extractors of queries, path ids and JSON. A value that does not fit is a problem that names its field.

use axum::{
    RequestPartsExt,
    extract::{FromRequestParts, Path},
};
use http::{HeaderMap, Uri, request::Parts};
use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny},
};
use turnpike_fault::{Fault, Kind};
use turnpike_proto::timestamp;

use super::problem::Problem;

/// Parses a JSON object.
pub(crate) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    // serde would accept a list as an object whose fields are in order
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first.is_some_and(|byte| *byte != b'{') && serde_json::from_slice::<IgnoredAny>(bytes).is_ok() {
        return Err(invalid("The body is not valid", "", "must be an object"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_syntax() || inner.is_eof() {
            return Fault::new(Kind::Validation, "The body is not JSON");
        }
        invalid("The body is not valid", &path, &inner.to_string())
    })?;
    json.end().map_err(|_| Fault::new(Kind::Validation, "The body is not JSON"))?;
    Ok(value)
}

/// A field that is present, even if it is `null`; an absent one is its default, `None`.
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(json: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(json).map(Some)
}

/// The query. Unknown parameters are ignored.
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match axum::extract::Query::<T>::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                let text = rejection.body_text();
                let message = text.rsplit_once(": ").map_or(text.as_str(), |(_, message)| message);
                let field = text.split(": ").nth(1).filter(|field| !field.contains(' ')).unwrap_or_default();
                Err(invalid("The query is not valid", field, message).into())
            }
        }
    }
}

/// An id in the path. An id that is not well-formed identifies nothing, so it is reported as not found.
pub(crate) struct Id<T>(pub(crate) T);

impl<S: Send + Sync, T: std::str::FromStr + Send> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let missing = || Fault::new(Kind::NotFound, "Not found");
        let Path(text) = parts.extract::<Path<String>>().await.map_err(|_| missing())?;
        Ok(Self(text.parse().map_err(|_| missing())?))
    }
}

/// Two ids in the path, like [`Id`].
pub(crate) struct Ids<A, B>(pub(crate) A, pub(crate) B);

impl<S, A, B> FromRequestParts<S> for Ids<A, B>
where
    S: Send + Sync,
    A: std::str::FromStr + Send,
    B: std::str::FromStr + Send,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let missing = || Fault::new(Kind::NotFound, "Not found");
        let Path((a, b)) = parts.extract::<Path<(String, String)>>().await.map_err(|_| missing())?;
        Ok(Self(a.parse().map_err(|_| missing())?, b.parse().map_err(|_| missing())?))
    }
}

/// A value that does not fit. serde names a missing or unknown field only within its message.
pub(crate) fn invalid(detail: &'static str, path: &str, message: &str) -> Fault {
    let named = message
        .strip_prefix("missing field `")
        .or_else(|| message.strip_prefix("unknown field `"))
        .and_then(|rest| rest.split('`').next());
    let field = match (path, named) {
        ("" | ".", Some(name)) => name.to_owned(),
        ("" | ".", None) => "body".to_owned(),
        (path, Some(name)) if !path.ends_with(name) => format!("{path}.{name}"),
        (path, _) => path.to_owned(),
    };
    // serde adds the position in the text, which does not help a client that sent an object
    let message = message.split(" at line ").next().unwrap_or(message);
    Fault::new(Kind::Validation, detail).field(field, message)
}

/// A time in a query.
pub(crate) fn time(field: &str, text: Option<String>) -> Result<Option<prost_types::Timestamp>, Fault> {
    let Some(text) = text else { return Ok(None) };
    // In a query, a plus sign is decoded as a space: "2026-11-21T10:00:00 01:00" means +01:00.
    let at: Timestamp = text
        .replace(' ', "+")
        .parse()
        .map_err(|_| Fault::new(Kind::Validation, "The query is not valid").field(field, "must be an RFC 3339 time"))?;
    Ok(Some(timestamp::to_protobuf(at)))
}

/// `?limit=` and `?cursor=` of every list.
#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// The length of the page, 1–100; 50 if absent.
    #[param(minimum = 1, maximum = 100)]
    pub(crate) limit: Option<u32>,
    /// The cursor in the `Link` header of the previous page.
    #[param(pattern = "^([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})?$")]
    pub(crate) cursor: Option<String>,
}

/// [`Page`] of a list whose elements have numbers instead of ids.
#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct NumberedPage {
    /// The length of the page, 1–100; 50 if absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The cursor in the `Link` header of the previous page.
    #[param(pattern = "^([0-9]{1,18})?$")]
    cursor: Option<String>,
}

/// [`Page`] of a list whose cursors have no form that clients know.
#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct OpaquePage {
    /// The length of the page, 1–100; 50 if absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The cursor in the `Link` header of the previous page.
    cursor: Option<String>,
}

impl From<OpaquePage> for Page {
    fn from(OpaquePage { limit, cursor }: OpaquePage) -> Self {
        Self { limit, cursor }
    }
}

impl From<NumberedPage> for Page {
    fn from(NumberedPage { limit, cursor }: NumberedPage) -> Self {
        Self { limit, cursor }
    }
}

impl Page {
    pub(crate) fn limit(&self) -> Result<u32, Fault> {
        match self.limit {
            None => Ok(50),
            Some(limit @ 1..=100) => Ok(limit),
            Some(_) => Err(invalid("The query is not valid", "limit", "must be from 1 to 100")),
        }
    }

    pub(crate) fn cursor(&self) -> String {
        self.cursor.clone().unwrap_or_default()
    }
}

/// `Link: <…>; rel="next"` (RFC 8288): the same request with the next cursor. Nothing on the last page.
pub(crate) fn next_link(uri: &Uri, cursor: &str) -> HeaderMap {
    next_link_by(uri, "cursor", cursor)
}

/// [`next_link`] of a list whose pages are chosen by another parameter.
pub(crate) fn next_link_by(uri: &Uri, parameter: &str, value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if value.is_empty() {
        return headers;
    }
    let named = |pair: &str| pair.split('=').next() == Some(parameter);
    let kept = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !named(pair));
    let query: Vec<_> = kept.map(str::to_owned).chain([format!("{parameter}={value}")]).collect();
    let link = format!("<{}?{}>; rel=\"next\"", uri.path(), query.join("&"));
    // Our cursors are ids and numbers, and the rest was a header line before.
    if let Ok(value) = link.parse() {
        headers.insert(http::header::LINK, value);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_the_same_request_with_another_cursor() {
        let uri: Uri = "/api/commands?status=failed&cursor=a&limit=2".parse().expect("a URI");
        let link = next_link(&uri, "b");
        assert_eq!(link["link"], r#"</api/commands?status=failed&limit=2&cursor=b>; rel="next""#);
        assert!(next_link(&uri, "").is_empty());
    }

    #[test]
    fn a_field_is_named_however_serde_puts_it() {
        let field = |path, message| invalid("", path, message).fields()[0].field.clone();
        assert_eq!(field(".", "missing field `email` at line 1 column 2"), "email");
        assert_eq!(field("a", "unknown field `b`, expected `c`"), "a.b");
        assert_eq!(field("timeout_seconds", "invalid type: string"), "timeout_seconds");
    }
}
