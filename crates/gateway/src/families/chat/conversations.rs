//! `/api/chat/conversations`.

use axum::{Json, extract::State};
use http::{HeaderMap, Uri};
use serde::{Deserialize, Serialize};
use turnpike_fault::Fault;
use turnpike_proto::chat::v1 as pb;
use turnpike_topic::{ConversationId, MessageId, PersonaId};
use utoipa::{IntoParams, ToSchema};

use super::{
    Confirmation, id as id_of,
    messages::{self, Message},
    text,
};
use crate::{
    access::{
        body::{Body, OptionalBody},
        caller::SignedIn,
    },
    app::Chat,
    http::{
        Answer,
        extract::{Id, Ids, OpaquePage, Page, Query, invalid, next_link, present},
        idempotency,
        problem::ProblemBody,
        rfc3339,
    },
};

#[derive(Serialize, ToSchema)]
pub(crate) struct Conversation {
    #[schema(format = Uuid)]
    id: String,
    #[schema(example = "New Conversation")]
    title: String,
    /// Listed before the others.
    pinned: bool,
    /// Removed a day after its last message, and not found by searches.
    temporary: bool,
    #[schema(format = Uuid)]
    persona_id: Option<String>,
    /// Instructions for the model, in place of the persona's.
    system_prompt: String,
    /// The newest message of the shown path.
    #[schema(format = Uuid)]
    leaf_message_id: Option<String>,
    #[schema(format = DateTime)]
    created_at: Option<String>,
    #[schema(format = DateTime)]
    updated_at: Option<String>,
}

impl From<pb::Conversation> for Conversation {
    fn from(conversation: pb::Conversation) -> Self {
        Self {
            id: conversation.id,
            title: conversation.title,
            pinned: conversation.pinned,
            temporary: conversation.temporary,
            persona_id: text(conversation.persona_id),
            system_prompt: conversation.system_prompt,
            leaf_message_id: text(conversation.leaf_message_id),
            created_at: rfc3339(conversation.created_at),
            updated_at: rfc3339(conversation.updated_at),
        }
    }
}

/// A conversation. Every field may be absent, and so may the body.
#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct NewConversation {
    /// `New Conversation` if absent; then the first message gives the title.
    #[schema(max_length = 200)]
    title: Option<String>,
    temporary: Option<bool>,
    #[schema(format = Uuid)]
    persona_id: Option<String>,
    /// At most 16 KiB.
    system_prompt: Option<String>,
}

/// Create a conversation.
///
/// `Idempotency-Key` makes a repeated request get the response of the first one for 24 hours.
#[utoipa::path(post, path = "/api/chat/conversations", tag = "chat", request_body = Option<NewConversation>,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Conversation), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 422, body = ProblemBody)))]
pub(crate) async fn create_conversation(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    headers: HeaderMap,
    OptionalBody(new, _): OptionalBody<NewConversation>,
) -> Answer<(HeaderMap, Json<Conversation>)> {
    let message = pb::CreateConversationRequest {
        title: new.title.unwrap_or_default(),
        temporary: new.temporary.unwrap_or_default(),
        persona_id: id_of::<PersonaId>("persona_id", new.persona_id)?,
        system_prompt: new.system_prompt.unwrap_or_default(),
        idempotency_key: idempotency::key(&headers)?,
    };
    let answer = chat.conversations().create_conversation(caller.token.request(message)).await?.into_inner();
    let conversation = answer.conversation.ok_or_else(Fault::internal)?;
    Ok((idempotency::replayed(answer.replayed), Json(conversation.into())))
}

/// The caller's conversations: pinned ones first, then the newest change first.
#[utoipa::path(get, path = "/api/chat/conversations", tag = "chat", params(OpaquePage),
    responses((status = 200, body = Vec<Conversation>), (status = 422, body = ProblemBody)))]
pub(crate) async fn list_conversations(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    Query(page): Query<OpaquePage>,
    uri: Uri,
) -> Answer<(HeaderMap, Json<Vec<Conversation>>)> {
    let page = Page::from(page);
    let message = pb::ListConversationsRequest { limit: page.limit()?, cursor: page.cursor() };
    let answer = chat.conversations().list_conversations(caller.token.request(message)).await?.into_inner();
    let conversations = answer.conversations.into_iter().map(Conversation::from).collect();
    Ok((next_link(&uri, &answer.next_cursor), Json(conversations)))
}

#[derive(Serialize, ToSchema)]
pub(crate) struct WithMessages {
    conversation: Conversation,
    /// The newest 100 of the shown path, oldest first. The header `Link` leads to those before.
    messages: Vec<Message>,
}

/// One conversation with its newest messages.
#[utoipa::path(get, path = "/api/chat/conversations/{id}", tag = "chat", params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = WithMessages), (status = 404, body = ProblemBody)))]
pub(crate) async fn get_conversation(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    Id(id): Id<ConversationId>,
) -> Answer<(HeaderMap, Json<WithMessages>)> {
    const NEWEST: u32 = 100;
    let conversation = caller.token.request(pb::GetConversationRequest { conversation_id: id.to_string() });
    let newest = caller.token.request(messages::newest(id, NEWEST));
    let (mut client, mut other) = (chat.conversations(), chat.conversations());
    let (conversation, page) = tokio::try_join!(client.get_conversation(conversation), other.list_messages(newest))?;
    let uri = format!("/api/chat/conversations/{id}/messages?limit={NEWEST}").parse().map_err(|_| Fault::internal())?;
    let (link, messages) = messages::page(&uri, page.into_inner());
    Ok((link, Json(WithMessages { conversation: conversation.into_inner().into(), messages })))
}

/// Changes of a conversation. An absent field stays as it is.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ConversationChanges {
    #[schema(min_length = 1, max_length = 200)]
    title: Option<String>,
    pinned: Option<bool>,
    /// `null`: no persona.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, format = Uuid)]
    persona_id: Option<Option<String>>,
    /// At most 16 KiB. `null`: none.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    system_prompt: Option<Option<String>>,
}

/// Change a conversation.
#[utoipa::path(patch, path = "/api/chat/conversations/{id}", tag = "chat", request_body = ConversationChanges,
    params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = Conversation), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody),
        (status = 422, body = ProblemBody)))]
pub(crate) async fn update_conversation(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    Id(id): Id<ConversationId>,
    Body(changes, _): Body<ConversationChanges>,
) -> Answer<Json<Conversation>> {
    let message = pb::UpdateConversationRequest {
        conversation_id: id.to_string(),
        title: changes.title,
        pinned: changes.pinned,
        persona_id: changes.persona_id.map(|persona| id_of::<PersonaId>("persona_id", persona)).transpose()?,
        system_prompt: changes.system_prompt.map(Option::unwrap_or_default),
    };
    Ok(Json(chat.conversations().update_conversation(caller.token.request(message)).await?.into_inner().into()))
}

/// Delete a conversation with its messages. Its running answer is stopped, and its topic is closed.
#[utoipa::path(delete, path = "/api/chat/conversations/{id}", tag = "chat", params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = Confirmation), (status = 404, body = ProblemBody)))]
pub(crate) async fn delete_conversation(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    Id(id): Id<ConversationId>,
) -> Answer<Json<Confirmation>> {
    let message = pb::DeleteConversationRequest { conversation_id: id.to_string() };
    chat.conversations().delete_conversation(caller.token.request(message)).await?;
    Ok(Json(Confirmation { message: "Conversation deleted" }))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Version {
    /// The version of the message with this number; absent: the message itself.
    #[param(minimum = 1)]
    version: Option<u32>,
}

/// Show another version of a message. The shown path then leads through it to its newest descendant.
#[utoipa::path(post, path = "/api/chat/conversations/{id}/messages/{message_id}/select", tag = "chat",
    params(("id" = String, Path, format = Uuid), ("message_id" = String, Path, format = Uuid), Version),
    responses((status = 200, body = Conversation), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody)))]
pub(crate) async fn select_version(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    Ids(id, message_id): Ids<ConversationId, MessageId>,
    Query(Version { version }): Query<Version>,
) -> Answer<Json<Conversation>> {
    if version == Some(0) {
        return Err(invalid("The query is not valid", "version", "must be at least 1").into());
    }
    let message = pb::SelectVersionRequest {
        conversation_id: id.to_string(),
        message_id: message_id.to_string(),
        version: version.unwrap_or_default(),
    };
    let conversation = chat.conversations().select_version(caller.token.request(message)).await?.into_inner();
    Ok(Json(conversation.into()))
}
