//! The least that a gateway for language models does: it parses the request, replaces the model, and forwards it on a pooled
//! connection. No identity, limits, usage or metrics. What Turnpike costs is measured against this.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{Request, Response, StatusCode, Uri, body::Incoming, header, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use serde_json::Value;
use tokio::net::TcpListener;

type Upstream = Client<HttpConnector, Full<Bytes>>;
type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// Serves until the process ends, and prints the address.
pub(crate) async fn serve(port: u16, upstream: &str) {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Upstream = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(256).build(connector);
    let target: Uri = format!("{upstream}/chat/completions").parse().expect("a URL");
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
    println!("{}", listener.local_addr().expect("an address"));
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let (client, target) = (client.clone(), target.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| forward(request, &client, &target));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn forward(request: Request<Incoming>, client: &Upstream, target: &Uri) -> Result<Response<Body>, Infallible> {
    let Ok(body) = request.into_body().collect().await else { return Ok(refused(StatusCode::BAD_REQUEST)) };
    let Ok(mut parsed) = serde_json::from_slice::<Value>(&body.to_bytes()) else {
        return Ok(refused(StatusCode::BAD_REQUEST));
    };
    parsed["model"] = Value::from("mock");
    let outgoing = Request::post(target.clone())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(parsed.to_string())))
        .expect("a valid request");
    let Ok(response) = client.request(outgoing).await else { return Ok(refused(StatusCode::BAD_GATEWAY)) };
    let kind = response.headers().get(header::CONTENT_TYPE).cloned();
    let mut answer = Response::builder().status(response.status());
    if let Some(kind) = kind {
        answer = answer.header(header::CONTENT_TYPE, kind);
    }
    Ok(answer.body(response.into_body().boxed_unsync()).expect("a valid response"))
}

fn refused(status: StatusCode) -> Response<Body> {
    let body = Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(status).body(body).expect("a valid response")
}
