//! Requests that a language model answers.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{FromRef, FromRequest, Request, State},
    response::Response,
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use tokio::time::sleep;
use tonic::{Status, Streaming};
use turnpike_proto::chat::v1::{self as pb, Endpoint, forward_part::Part};
use utoipa::ToSchema;

use super::{
    error::{Client, ErrorBody, OpenAiError},
    late,
    relay::{Answered, respond, revoked},
};
use crate::{
    access::body::{Bodies, Share},
    app::{App, Chat},
    stream::connections::Connections,
};

/// The longest body, which may contain images.
const MAX_BODY: usize = 16 << 20;
/// A client that asked for a stream gets a response after this time, even if the model has not begun to answer. Proxies and
/// clients would otherwise take the connection for dead.
const EARLY_RESPONSE: Duration = Duration::from_secs(1);

/// The bytes of the body. They are not parsed here.
pub(crate) struct Raw(Bytes, Share);

impl FromRequest<App> for Raw {
    type Rejection = OpenAiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, OpenAiError> {
        match Arc::<Bodies>::from_ref(app).receive(request, MAX_BODY).await {
            Ok((bytes, share)) => Ok(Self(bytes.into(), share)),
            Err(refused) => {
                let (fault, status) = refused.fault();
                Err(OpenAiError::with_status(status, fault))
            }
        }
    }
}

/// A request as the documentation of OpenAI describes it. Fields that are not known here reach the model's server unchanged.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body, which is passed on as it is")]
pub(crate) struct ModelRequest {
    /// The configured model if absent.
    model: Option<String>,
    /// Server-sent events instead of one object.
    stream: Option<bool>,
}

/// Answer a list of messages (`messages`), as OpenAI's endpoint of this name. The request is cancelled when the client leaves.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "openai", request_body = ModelRequest,
    responses((status = 200, description = "The response of the model's server", content((Object = "application/json"), (String = "text/event-stream"))),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 429, body = ErrorBody)))]
pub(crate) async fn chat_completions(
    State(chat): State<Chat>,
    State(connections): State<Connections>,
    client: Client,
    body: Raw,
) -> Result<Response, OpenAiError> {
    forward(Endpoint::ChatCompletions, &chat, &connections, client, body).await
}

/// Continue a text (`prompt`), as OpenAI's endpoint of this name.
#[utoipa::path(post, path = "/v1/completions", tag = "openai", request_body = ModelRequest,
    responses((status = 200, description = "The response of the model's server", content((Object = "application/json"), (String = "text/event-stream"))),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 429, body = ErrorBody)))]
pub(crate) async fn completions(
    State(chat): State<Chat>,
    State(connections): State<Connections>,
    client: Client,
    body: Raw,
) -> Result<Response, OpenAiError> {
    forward(Endpoint::Completions, &chat, &connections, client, body).await
}

/// OpenAI's endpoint of this name, if the model's server has it.
#[utoipa::path(post, path = "/v1/responses", tag = "openai", request_body = ModelRequest,
    responses((status = 200, description = "The response of the model's server", content((Object = "application/json"), (String = "text/event-stream"))),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 429, body = ErrorBody)))]
pub(crate) async fn responses(
    State(chat): State<Chat>,
    State(connections): State<Connections>,
    client: Client,
    body: Raw,
) -> Result<Response, OpenAiError> {
    forward(Endpoint::Responses, &chat, &connections, client, body).await
}

/// Vectors for texts (`input`), as OpenAI's endpoint of this name.
#[utoipa::path(post, path = "/v1/embeddings", tag = "openai", request_body = ModelRequest,
    responses((status = 200, description = "The response of the model's server", content((Object = "application/json"))),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 429, body = ErrorBody)))]
pub(crate) async fn embeddings(
    State(chat): State<Chat>,
    State(connections): State<Connections>,
    client: Client,
    body: Raw,
) -> Result<Response, OpenAiError> {
    forward(Endpoint::Embeddings, &chat, &connections, client, body).await
}

/// Dropping the future or the body of the response cancels the request, which the chat service then cancels at the model's server.
async fn forward(
    endpoint: Endpoint,
    chat: &Chat,
    connections: &Connections,
    Client(caller, origin): Client,
    Raw(body, share): Raw,
) -> Result<Response, OpenAiError> {
    let registration = connections.register_generation(&caller, origin)?;
    let message = caller.token.request(pb::ForwardRequest { endpoint: endpoint.into(), body: body.clone() });
    let mut client = chat.slow_models();
    let mut call: BoxFuture<'static, Result<Answered, Status>> = Box::pin(async move {
        let answered = head(client.forward(message).await?.into_inner()).await;
        drop(share);
        answered
    });
    tokio::select! {
        answered = &mut call => return Ok(respond(registration, answered?).await),
        ending = revoked(&registration.handle) => return Err(ending.into()),
        () = sleep(EARLY_RESPONSE) => {}
    }
    if asks_for_a_stream(&body) {
        return Ok(late::respond(registration, call));
    }
    drop(body);
    let answered = tokio::select! {
        answered = &mut call => answered?,
        ending = revoked(&registration.handle) => return Err(ending.into()),
    };
    Ok(respond(registration, answered).await)
}

async fn head(mut parts: Streaming<pb::ForwardPart>) -> Result<Answered, Status> {
    match parts.message().await? {
        Some(pb::ForwardPart { part: Some(Part::Head(head)) }) => Ok((head, parts)),
        _ => Err(Status::internal("a response without a head")),
    }
}

/// Whether the body has `"stream": true`. A body that is not JSON is refused by the chat service.
fn asks_for_a_stream(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Asked {
        stream: Option<bool>,
    }
    serde_json::from_slice(body).is_ok_and(|asked: Asked| asked.stream == Some(true))
}
