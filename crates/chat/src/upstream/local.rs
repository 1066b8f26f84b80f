//! Without a configured server: looks for one on the usual ports of this machine, and names it in the log. It is not used.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Uri};
use http_body_util::Full;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tracing::info;
use turnpike_kit::{OnExit, Process};

use crate::upstream::{body::Body, http::Http};

/// TabbyAPI, llama.cpp, vLLM, Ollama, LM Studio, LiteLLM. Our own gateway, whose port is that of llama.cpp, does not list models to
/// strangers.
const PORTS: [u16; 6] = [5000, 8080, 8000, 11434, 1234, 4000];
/// Bound for one port.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
struct List {
    #[expect(dead_code, reason = "a list of models has it")]
    data: Vec<IgnoredAny>,
}

/// Looks once, beside the start of the process.
pub fn look(process: &Process, http: &Http) {
    let http = http.clone();
    process.tasks.spawn("look for a local model server", OnExit::Continue, async move {
        for port in PORTS {
            if let Ok(true) = tokio::time::timeout(PATIENCE, lists_models(&http, port)).await {
                let url = format!("http://127.0.0.1:{port}/v1");
                info!(url, "a model server runs on this machine; set TURNPIKE_LLM_URL to this URL to use it");
            }
        }
    });
}

async fn lists_models(http: &Http, port: u16) -> bool {
    let Ok(uri) = format!("http://127.0.0.1:{port}/v1/models").parse::<Uri>() else { return false };
    let mut request = Request::new(Full::new(Bytes::new()));
    (*request.method_mut(), *request.uri_mut()) = (Method::GET, uri);
    let Ok(response) = http.send(request).await else { return false };
    let is_success = response.status().is_success();
    let Ok(body) = Body::Http(response.into_body()).collect(1 << 20).await else { return false };
    is_success && serde_json::from_slice::<List>(&body).is_ok()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };
    use turnpike_kit::{Clock, Trust};

    use super::*;

    /// Whether a server with this response is taken for one of language models.
    async fn is_named(status: &str, body: &str) -> bool {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let response = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let serving = async {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.expect("a request");
            assert!(request[..length].starts_with(b"GET /v1/models HTTP/1.1\r\n"));
            stream.write_all(response.as_bytes()).await.expect("written");
            stream // closed later
        };
        let http = Http::new(&Clock::system(), PATIENCE, &Trust::public());
        tokio::join!(lists_models(&http, port), serving).0
    }

    #[tokio::test]
    async fn only_a_list_of_models_is_named() {
        assert!(is_named("200 OK", r#"{"object":"list","data":[{"id":"m"}]}"#).await);
        for (status, body) in [
            ("401 Unauthorized", r#"{"code":"UNAUTHENTICATED"}"#), // our own gateway
            ("200 OK", "<h1>Welcome</h1>"),
            ("404 Not Found", r#"{"data":[]}"#),
        ] {
            assert!(!is_named(status, body).await, "{status} {body}");
        }
    }
}
