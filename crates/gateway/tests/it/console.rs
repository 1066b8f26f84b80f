//! The web console's files as a browser gets them.

use http::{HeaderValue, Method, header};
use turnpike_console::HASH;

use crate::gateway::Gateway;

#[tokio::test]
async fn every_screen_is_the_page_and_the_page_is_revalidated() {
    let gateway = Gateway::start().await;
    let anyone = gateway.anonymous();
    for path in ["/console/", "/console/vehicles", "/console/chat/01890000-0000-7000-8000-000000000000"] {
        let answer = anyone.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.text.starts_with("<!doctype html>") && answer.text.contains(HASH), "{path}");
        assert_eq!(answer.headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-cache");
        let policy = answer.headers[header::CONTENT_SECURITY_POLICY].to_str().expect("text");
        assert!(
            policy.contains("script-src 'self';") && policy.contains("require-trusted-types-for 'script'"),
            "{policy}"
        );
        let again = anyone.request(Method::GET, path).header(header::IF_NONE_MATCH, format!("\"{HASH}\""));
        assert_eq!(anyone.send(again).await.status, 304, "{path}");
    }
}

#[tokio::test]
async fn files_are_immutable_and_those_of_another_version_are_not_found() {
    let gateway = Gateway::start().await;
    let anyone = gateway.anonymous();
    let path = format!("/console/@{HASH}/main.js");
    let plain = anyone.get(&path).await;
    assert_eq!(
        (plain.status, &plain.headers[header::CONTENT_TYPE]),
        (200, &HeaderValue::from_static("text/javascript; charset=utf-8"))
    );
    assert!(plain.headers[header::CACHE_CONTROL].to_str().is_ok_and(|value| value.contains("immutable")));
    assert!(!plain.headers.contains_key(header::CONTENT_ENCODING));
    for (accepted, brotli) in [("gzip, br", true), ("br;q=0.5", true), ("gzip", false), ("br;q=0", false)] {
        let request = anyone.request(Method::GET, &path).header(header::ACCEPT_ENCODING, accepted);
        let answer = anyone.send(request).await;
        let length: usize = answer.headers[header::CONTENT_LENGTH].to_str().expect("text").parse().expect("a number");
        assert_eq!(
            answer.headers.get(header::CONTENT_ENCODING).is_some_and(|value| value == "br"),
            brotli,
            "{accepted}"
        );
        assert_eq!(length < plain.text.len(), brotli, "{accepted}");
    }
    for missing in ["/console/@0000000000000000/main.js", &format!("/console/@{HASH}/none.js"), "/client/none.js"] {
        let answer = anyone.get(missing).await;
        assert_eq!((answer.status, answer.json["code"].as_str()), (404, Some("NOT_FOUND")), "{missing}");
    }
    let client = anyone.get("/client/turnpike.js").await;
    assert_eq!((client.status, &client.headers[header::CACHE_CONTROL]), (200, &HeaderValue::from_static("no-cache")));
    assert!(client.text.contains("export class Turnpike"));
}

#[tokio::test]
async fn browsers_are_sent_to_the_console_and_docs_has_a_policy() {
    let gateway = Gateway::start().await;
    let anyone = gateway.anonymous();
    let browser = anyone.request(Method::GET, "/").header(header::ACCEPT, "text/html,application/xhtml+xml");
    let answer = anyone.send(browser).await; // follows the redirect
    assert!(answer.status == 200 && answer.text.contains("/console/@"));
    assert_eq!(anyone.get("/").await.status, 404, "a program gets no page");
    let docs = anyone.get("/docs/").await;
    let policy = docs.headers[header::CONTENT_SECURITY_POLICY].to_str().expect("text");
    assert!(docs.status == 200 && policy.contains("script-src 'self';"), "{policy}");
    assert_eq!(anyone.get("/api/nothing").await.status, 404, "the console hides no missing route");
}
