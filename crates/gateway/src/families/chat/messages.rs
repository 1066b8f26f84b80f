//! The messages of a conversation, which are a tree: a client shows one path through it.

use axum::{Json, extract::State};
use http::{HeaderMap, Uri};
use serde::{Deserialize, Serialize};
use turnpike_proto::chat::v1 as pb;
use turnpike_topic::{ConversationId, MessageId};
use utoipa::{IntoParams, ToSchema};

use super::text;
use crate::{
    access::caller::SignedIn,
    app::Chat,
    http::{
        Answer,
        extract::{Id, Query, invalid, next_link_by},
        problem::ProblemBody,
        rfc3339,
    },
};

#[derive(Serialize, ToSchema)]
#[schema(as = ChatMessage)]
pub(crate) struct Message {
    #[schema(format = Uuid)]
    id: String,
    #[schema(format = Uuid)]
    conversation_id: String,
    /// The message before it.
    #[schema(format = Uuid)]
    parent_id: Option<String>,
    role: Role,
    content: String,
    /// What a reasoning model wrote before its answer.
    #[serde(skip_serializing_if = "String::is_empty")]
    reasoning_content: String,
    state: MessageState,
    /// Why the model stopped: `stop`, `length`…; `stopped` if a user stopped it.
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<String>,
    /// The model that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timing: Option<Timing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
    /// 1, 2, 3… among the messages with the same parent and role.
    version: u32,
    versions: u32,
    #[schema(format = DateTime)]
    created_at: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MessageRole)]
enum Role {
    User,
    Assistant,
}

/// `stopped`: by a user. `interrupted`: the process that generated the answer ended. `content` is then the text that the model had written by then.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum MessageState {
    Complete,
    Generating,
    Stopped,
    Interrupted,
    Error,
}

#[derive(Serialize, ToSchema)]
#[schema(as = MessageUsage)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    /// The model's server did not count; the numbers are estimates.
    estimated: bool,
}

#[derive(Serialize, ToSchema)]
#[schema(as = MessageTiming)]
struct Timing {
    /// From the request to the first piece of the answer, in milliseconds.
    first_token_ms: u64,
    /// From the request to the end, in milliseconds.
    total_ms: u64,
}

impl From<pb::Message> for Message {
    fn from(message: pb::Message) -> Self {
        let state = match message.state() {
            pb::MessageState::Complete | pb::MessageState::Unspecified => MessageState::Complete,
            pb::MessageState::Generating => MessageState::Generating,
            pb::MessageState::Stopped => MessageState::Stopped,
            pb::MessageState::Interrupted => MessageState::Interrupted,
            pb::MessageState::Error => MessageState::Error,
        };
        Self {
            id: message.id,
            conversation_id: message.conversation_id,
            parent_id: text(message.parent_id),
            role: if message.role == "user" { Role::User } else { Role::Assistant },
            content: message.content,
            reasoning_content: message.reasoning_content,
            state,
            finish_reason: text(message.finish_reason),
            model: text(message.model),
            usage: message.usage.map(|usage| Usage {
                prompt_tokens: usage.prompt_tokens,
                completion_tokens: usage.completion_tokens,
                total_tokens: usage.total_tokens,
                estimated: usage.estimated,
            }),
            timing: message
                .timing
                .map(|timing| Timing { first_token_ms: timing.first_token_ms, total_ms: timing.total_ms }),
            error_code: text(message.error_code),
            error_message: text(message.error_message),
            version: message.version,
            versions: message.versions,
            created_at: rfc3339(message.created_at),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Before {
    /// Only messages before this one on its path.
    #[param(format = Uuid)]
    before: Option<String>,
    /// The length of the page, 1–100; 50 if absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
}

/// The messages of the shown path: the newest page first, the oldest message first within it.
#[utoipa::path(get, path = "/api/chat/conversations/{id}/messages", tag = "chat",
    params(("id" = String, Path, format = Uuid), Before),
    responses((status = 200, body = Vec<Message>), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody)))]
pub(crate) async fn list_messages(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    Id(id): Id<ConversationId>,
    Query(query): Query<Before>,
    uri: Uri,
) -> Answer<(HeaderMap, Json<Vec<Message>>)> {
    let limit = query.limit.unwrap_or(50);
    if !(1..=100).contains(&limit) {
        return Err(invalid("The query is not valid", "limit", "must be from 1 to 100").into());
    }
    let mut message = newest(id, limit);
    if let Some(before) = query.before {
        let before: Result<MessageId, _> = before.parse();
        let before = before.map_err(|_| invalid("The query is not valid", "before", "must be the id of a message"))?;
        message.before = before.to_string();
    }
    let answer = chat.conversations().list_messages(caller.token.request(message)).await?.into_inner();
    let (link, messages) = page(&uri, answer);
    Ok((link, Json(messages)))
}

/// The request for the newest page.
pub(super) fn newest(id: ConversationId, limit: u32) -> pb::ListMessagesRequest {
    pb::ListMessagesRequest { conversation_id: id.to_string(), limit, ..Default::default() }
}

/// A page, and the link to the messages before it.
pub(super) fn page(uri: &Uri, page: pb::ListMessagesResponse) -> (HeaderMap, Vec<Message>) {
    let before = page.messages.first().filter(|_| page.more).map(|first| first.id.clone()).unwrap_or_default();
    (next_link_by(uri, "before", &before), page.messages.into_iter().map(Message::from).collect())
}
