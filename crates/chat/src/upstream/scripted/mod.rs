//! The built-in scripted model, which answers while no server is configured. Its texts depend only on the request, and say that they
//! are scripted. It speaks the protocol of a server, so that all of the code around it is the same.

mod answer;
mod embedding;

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::StatusCode;
use serde_json::{Value, json};
use turnpike_kit::Clock;
use uuid::Uuid;

use crate::upstream::{
    Endpoint,
    body::Body,
    response::{Path, Response},
};

use answer::Script;

/// The id of the scripted model.
pub const MODEL: &str = "turnpike-scripted";

pub struct Scripted {
    clock: Clock,
    delay: Duration,
}

impl Scripted {
    /// A model that pauses between two pieces of an answer.
    pub fn new(clock: &Clock, delay: Duration) -> Self {
        Self { clock: clock.clone(), delay }
    }

    /// Answers a request.
    pub fn call(&self, endpoint: Endpoint, body: &[u8]) -> Response {
        let request: Value = match serde_json::from_slice(body) {
            Ok(request) => request,
            Err(error) => return refusal(StatusCode::BAD_REQUEST, &format!("The body is not JSON: {error}")),
        };
        if let Some(model) = request["model"].as_str().filter(|model| *model != MODEL) {
            let text = format!("There is no model {model:?}. Without TURNPIKE_LLM_URL the only model is {MODEL}.");
            return refusal(StatusCode::NOT_FOUND, &text);
        }
        let script = match endpoint {
            Endpoint::ChatCompletions => Script::chat(&request),
            Endpoint::Completions => Script::completion(&request),
            Endpoint::Embeddings => {
                return match embedding::embeddings(&request) {
                    Ok(answer) => whole(StatusCode::OK, &answer),
                    Err(text) => refusal(StatusCode::BAD_REQUEST, text),
                };
            }
            Endpoint::Responses => {
                return refusal(
                    StatusCode::NOT_FOUND,
                    "The scripted model has no Responses API; use /v1/chat/completions",
                );
            }
        };
        match script {
            Ok(script) if request["stream"] == json!(true) => self.stream(script, &request),
            Ok(script) => self.answer(script),
            Err(text) => refusal(StatusCode::BAD_REQUEST, text),
        }
    }

    /// Answers what it can of the management of models: its list.
    pub fn manage(&self, path: Path) -> Response {
        match path {
            Path::InBase("/models") => {
                let model = json!({ "id": MODEL, "object": "model", "created": 0, "owned_by": "turnpike" });
                whole(StatusCode::OK, &json!({ "object": "list", "data": [model] }))
            }
            _ => refusal(StatusCode::NOT_FOUND, "The scripted model is always loaded"),
        }
    }

    fn answer(&self, script: Script) -> Response {
        // It takes as long as the stream would.
        let pause = self.delay * u32::try_from(script.pieces.len()).unwrap_or(u32::MAX);
        let (clock, body) = (self.clock.clone(), script.whole(&id(&script), self.now()).to_string());
        let body = stream::once(async move {
            if !pause.is_zero() {
                clock.sleep(pause).await;
            }
            Bytes::from(body)
        });
        response(StatusCode::OK, "application/json", Body::Scripted(body.boxed()))
    }

    fn stream(&self, script: Script, request: &Value) -> Response {
        let with_usage = request["stream_options"]["include_usage"] == json!(true);
        let (clock, delay, id, now) = (self.clock.clone(), self.delay, id(&script), self.now());
        let last = script.pieces.len() + 3;
        let body = stream::iter(0..=last).filter_map(move |n| {
            let data = match n.checked_sub(1) {
                _ if n == last => Some("[DONE]".to_owned()),
                _ if n == last - 1 => with_usage.then(|| script.usage_chunk(&id, now, with_usage).to_string()),
                _ if n == last - 2 => Some(script.end(&id, now, with_usage).to_string()),
                None => script.beginning(&id, now, with_usage).map(|chunk| chunk.to_string()),
                Some(n) => Some(script.piece(n, &id, now, with_usage).to_string()),
            };
            let pause = (1..last - 2).contains(&n) && !delay.is_zero();
            let clock = clock.clone();
            async move {
                if pause {
                    clock.sleep(delay).await;
                }
                data.map(|data| Bytes::from(format!("data: {data}\n\n")))
            }
        });
        response(StatusCode::OK, "text/event-stream", Body::Scripted(body.boxed()))
    }

    fn now(&self) -> i64 {
        self.clock.now().as_second()
    }
}

fn id(script: &Script) -> String {
    format!("{}-{}", script.id_prefix(), Uuid::now_v7().simple())
}

fn response(status: StatusCode, content_type: &str, body: Body) -> Response {
    Response { status, content_type: content_type.to_owned(), retry_after: None, body }
}

fn whole(status: StatusCode, body: &Value) -> Response {
    let body = Bytes::from(body.to_string());
    response(status, "application/json", Body::Scripted(stream::once(async move { body }).boxed()))
}

fn refusal(status: StatusCode, message: &str) -> Response {
    let code = if status == StatusCode::NOT_FOUND { "model_not_found" } else { "invalid_request" };
    let error = json!({ "message": message, "type": "invalid_request_error", "param": null, "code": code });
    whole(status, &json!({ "error": error }))
}
