//! Answers of language models: ask, generate again, stop.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{FromRef, FromRequest, Request, State},
    response::{IntoResponse, Response},
};
use http::HeaderMap;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::time::timeout;
use tonic::Streaming;
use turnpike_bus::Bus;
use turnpike_fault::{Fault, Kind};
use turnpike_proto::chat::v1 as pb;
use turnpike_topic::{ConversationId, MessageId, Topic};
use utoipa::ToSchema;

use super::{answer_stream::AnswerStream, id as id_of, text};
use crate::{
    access::{
        body::{Bodies, OptionalBody, Refused, Share},
        caller::SignedIn,
    },
    app::Chat,
    http::{
        Answer,
        extract::{self, Id, Ids},
        idempotency,
        problem::{Problem, ProblemBody},
    },
    stream::{
        connections::{Connections, Registration, StreamTo},
        topics::Topics,
    },
};

/// The longest text of a message, in bytes.
const MAX_CONTENT: usize = 256 << 10;
/// A text may be four times as long in JSON, where some clients escape every character that is not ASCII.
const MAX_BODY: usize = 4 * MAX_CONTENT;
/// How long the response waits for the first event of the answer, to know whether an earlier request has started it.
const FIRST_EVENT_TIMEOUT: Duration = Duration::from_secs(1);

/// A message of the user.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NewMessage {
    /// At most 256 KiB.
    #[schema(min_length = 1)]
    content: String,
    /// The configured model if absent.
    model: Option<String>,
    /// A message of the user that this one replaces: it becomes another version, with its own answer.
    #[schema(format = Uuid)]
    edit_of: Option<String>,
}

/// The body of a message. Its limit is a limit of the text, so that the error names the limit that a user can meet.
pub(crate) struct Prompt<T>(T, #[expect(dead_code, reason = "held for its drop, at the end of the handler")] Share);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Prompt<T>
where
    Arc<Bodies>: FromRef<S>,
{
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let received = Arc::<Bodies>::from_ref(state).receive(request, MAX_BODY).await;
        let (bytes, share) = received.map_err(|refused| match refused {
            Refused::TooLong { .. } => Problem(too_long()).into_response(),
            refused => refused.into_response(),
        })?;
        let value = extract::json(&bytes).map_err(|fault| Problem(fault).into_response())?;
        Ok(Self(value, share))
    }
}

fn too_long() -> Fault {
    let limit = format!("must have at most {MAX_CONTENT} bytes (256 KiB)");
    Fault::new(Kind::TooLarge, format!("`content` {limit}")).field("content", limit)
}

/// Send a message, and receive its answer as server-sent events.
///
/// The events are those of the topic `conversation:{id}`, with the same bytes: `started`, `delta`…, then one `message` or `error`, with
/// which the stream ends. The answer goes on if the client leaves; `/stop` stops it. `Idempotency-Key` makes a repeated request
/// get the answer of the first one for 24 hours.
#[utoipa::path(post, path = "/api/chat/conversations/{id}/messages", tag = "chat", request_body = NewMessage,
    params(("id" = String, Path, format = Uuid), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, description = "The events of the answer", content_type = "text/event-stream"),
        (status = 400, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
        (status = 413, body = ProblemBody), (status = 422, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub(crate) async fn send_message(
    State(chat): State<Chat>,
    State(connections): State<Connections>,
    State(topics): State<Topics>,
    StreamTo(caller, origin): StreamTo,
    Id(id): Id<ConversationId>,
    headers: HeaderMap,
    Prompt(new, _): Prompt<NewMessage>,
) -> Answer<Response> {
    if new.content.len() > MAX_CONTENT {
        return Err(too_long().into());
    }
    let message = pb::SendMessageRequest {
        conversation_id: id.to_string(),
        content: new.content,
        model: new.model.unwrap_or_default(),
        edit_of: id_of::<MessageId>("edit_of", new.edit_of)?,
        idempotency_key: idempotency::key(&headers)?,
    };
    let registration = connections.register_generation(&caller, origin).map_err(Fault::from)?;
    let events = chat.answers().send_message(caller.token.request(message)).await?.into_inner();
    stream(topics.bus, id, registration, events).await
}

/// How to generate an answer again. The body may be absent.
#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct Regeneration {
    /// The configured model if absent.
    model: Option<String>,
}

/// Generate another version of an answer, or an answer to a message of the user.
///
/// The response is as that to a message. No version is lost: `/select` shows another one.
#[utoipa::path(post, path = "/api/chat/conversations/{id}/messages/{message_id}/regenerate", tag = "chat",
    request_body = Option<Regeneration>,
    params(("id" = String, Path, format = Uuid), ("message_id" = String, Path, format = Uuid),
        ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, description = "The events of the answer", content_type = "text/event-stream"),
        (status = 400, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
        (status = 422, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub(crate) async fn regenerate(
    State(chat): State<Chat>,
    State(connections): State<Connections>,
    State(topics): State<Topics>,
    StreamTo(caller, origin): StreamTo,
    Ids(id, message_id): Ids<ConversationId, MessageId>,
    headers: HeaderMap,
    OptionalBody(regeneration, _): OptionalBody<Regeneration>,
) -> Answer<Response> {
    let message = pb::RegenerateRequest {
        conversation_id: id.to_string(),
        message_id: message_id.to_string(),
        model: regeneration.model.unwrap_or_default(),
        idempotency_key: idempotency::key(&headers)?,
    };
    let registration = connections.register_generation(&caller, origin).map_err(Fault::from)?;
    let events = chat.answers().regenerate(caller.token.request(message)).await?.into_inner();
    stream(topics.bus, id, registration, events).await
}

async fn stream(
    bus: Bus,
    id: ConversationId,
    registration: Registration,
    mut events: Streaming<pb::AnswerEvent>,
) -> Answer<Response> {
    let first = match timeout(FIRST_EVENT_TIMEOUT, events.message()).await {
        Ok(first) => first?,
        Err(_) => None,
    };
    let replayed = first.as_ref().is_some_and(|event| event.replayed);
    let mut response = AnswerStream::new(bus, Topic::Conversation(id), registration, events).respond(first);
    response.headers_mut().extend(idempotency::replayed(replayed));
    Ok(response)
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Stopped {
    /// The answer that was running; absent if none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = Uuid)]
    message_id: Option<String>,
}

/// Stop the running answer, also at the model's server. The text so far is kept.
#[utoipa::path(post, path = "/api/chat/conversations/{id}/stop", tag = "chat", params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = Stopped), (status = 404, body = ProblemBody)))]
pub(crate) async fn stop_answer(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    Id(id): Id<ConversationId>,
) -> Answer<Json<Stopped>> {
    let message = pb::StopAnswerRequest { conversation_id: id.to_string() };
    let answer = chat.answers().stop_answer(caller.token.request(message)).await?.into_inner();
    Ok(Json(Stopped { message_id: text(answer.message_id) }))
}
