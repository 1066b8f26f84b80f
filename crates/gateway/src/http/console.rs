//! The web console: `/console/`, its files, and the JavaScript client. The files are embedded in `turnpike-console`.

use axum::{
    Router,
    extract::Path,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use turnpike_console::{Asset, HASH, asset};

use super::guard;

/// Only our own files run, and only our own server is asked. No text becomes HTML: the console creates every element itself.
const POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; \
    object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
/// The pages of `/docs` set styles in their elements.
const DOCS_POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/", get(root))
        .route("/console", get(async || Redirect::permanent("/console/")))
        .route("/console/", get(async |headers: HeaderMap| page(&headers)))
        .route("/console/{*path}", get(file))
        .route("/client/{file}", get(client))
}

/// The policy of `/docs`, which shares its origin, and so the cookie, with the console.
pub(crate) async fn docs_policy(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(DOCS_POLICY));
    response
}

/// Browsers are sent to the console. A program that asks for `/` has the wrong address.
async fn root(uri: Uri, headers: HeaderMap) -> Response {
    let browser = headers.get_all(header::ACCEPT).iter().any(|value| value.as_bytes().starts_with(b"text/html"));
    match browser {
        true => Redirect::to("/console/").into_response(),
        false => guard::not_found(uri).await,
    }
}

/// `@<hash>/<path>`: a file of this version, which never changes. Every other path is a screen, which the page shows.
async fn file(Path(path): Path<String>, uri: Uri, headers: HeaderMap) -> Response {
    let Some(versioned) = path.strip_prefix('@') else { return page(&headers) };
    let found = versioned.split_once('/').filter(|(hash, _)| *hash == HASH).and_then(|(_, path)| asset(path));
    match found {
        Some(asset) => {
            let mut response = content(asset, &headers);
            cache(&mut response, "public, max-age=31536000, immutable");
            response
        }
        None => guard::not_found(uri).await,
    }
}

/// The client has one address for all versions.
async fn client(Path(file): Path<String>, uri: Uri, headers: HeaderMap) -> Response {
    match asset(&format!("client/{file}")) {
        Some(asset) => revalidated(asset, &headers),
        None => guard::not_found(uri).await,
    }
}

fn page(headers: &HeaderMap) -> Response {
    let Some(page) = asset("index.html") else { return StatusCode::NOT_FOUND.into_response() };
    let mut response = revalidated(page, headers);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

/// A file that a browser may keep, and asks for again: 304 if the version is the same.
fn revalidated(asset: Asset, headers: &HeaderMap) -> Response {
    let tag = format!("\"{HASH}\"");
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let same = known.flat_map(|line| line.split(',')).any(|known| known.trim().trim_start_matches("W/") == tag);
    let mut response = if same { StatusCode::NOT_MODIFIED.into_response() } else { content(asset, headers) };
    cache(&mut response, "no-cache");
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn cache(response: &mut Response, value: &'static str) {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(value));
}

fn content(asset: Asset, headers: &HeaderMap) -> Response {
    let brotli = headers.get_all(header::ACCEPT_ENCODING).iter().any(accepts_brotli);
    let body = if brotli { asset.brotli } else { asset.plain };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.media_type));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if brotli {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
    }
    response
}

fn accepts_brotli(value: &HeaderValue) -> bool {
    value.to_str().is_ok_and(|text| {
        text.split(',').map(str::trim).any(|coding| match coding.split_once(';') {
            None => coding == "br",
            Some((name, quality)) => {
                name.trim() == "br" && !matches!(quality.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")
            }
        })
    })
}
