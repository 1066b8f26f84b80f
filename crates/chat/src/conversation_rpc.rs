//! The generated trait of conversations: parse, call, convert.

use std::pin::Pin;

use futures_util::{Stream, stream};
use sha2::{Digest, Sha256};
use tonic::{Request, Response, Status};
use turnpike_fault::{Fault, Kind};
use turnpike_identity::{Caller, caller};
use turnpike_kit::Clock;
use turnpike_proto::{
    chat::v1::{self as pb, conversation_service_server::ConversationService},
    timestamp,
};
use turnpike_store::{Page, Store, idempotency::Key, outbox::Bell};
use turnpike_token::Role;
use turnpike_topic::{ConversationId, PersonaId};

use crate::{
    changes::{self, Changes, Updated},
    conversations::{self, Conversation, Place, missing},
    convert::{new_persona, persona_changes, to_pb_conversation, to_pb_hit, to_pb_message, to_pb_part, to_pb_persona},
    creation::{self, New, unknown_persona},
    export::{Bulk, Document, Filter, Format},
    fields::{MAX_TITLE, invalid, line, required_line, system_prompt},
    messages::{self, End},
    personas::{self, Editor, PersonaError},
    removal,
    search::{self, Query},
};

/// Rows of a page of search results for which the caller names no limit.
const RESULTS: u32 = 20;
/// Characters of a query.
const MAX_QUERY: usize = 200;

type ExportStream = Pin<Box<dyn Stream<Item = Result<pb::ExportPart, Status>> + Send>>;

pub(crate) struct ConversationRpc {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    /// Wakes the publisher of changes.
    pub(crate) bell: Bell,
}

impl ConversationRpc {
    /// The caller's own conversation. Those of other users are reported as not found.
    async fn own(&self, caller: &Caller, id: &str) -> Result<Conversation, Fault> {
        let id = conversation_id(id)?;
        let found = conversations::get_of(&self.store, id, caller.claims.user_id).await;
        found.map_err(turnpike_store::fault)?.ok_or_else(missing)
    }
}

#[tonic::async_trait]
impl ConversationService for ConversationRpc {
    async fn create_conversation(
        &self,
        request: Request<pb::CreateConversationRequest>,
    ) -> Result<Response<pb::CreateConversationResponse>, Status> {
        let user_id = caller(&request)?.claims.user_id;
        let request = request.into_inner();
        let hash = hash(&request);
        let new = New {
            user_id,
            title: line("title", &request.title, MAX_TITLE)?,
            temporary: request.temporary,
            persona_id: persona_id(&request.persona_id)?,
            system_prompt: system_prompt(request.system_prompt)?,
            key: Key::new(user_id, &request.idempotency_key, hash)?,
        };
        let (created, replayed) = creation::create(&self.store, new, self.clock.now()).await.map_err(Fault::from)?;
        let conversation = Some(to_pb_conversation(created));
        Ok(Response::new(pb::CreateConversationResponse { conversation, replayed }))
    }

    async fn list_conversations(
        &self,
        request: Request<pb::ListConversationsRequest>,
    ) -> Result<Response<pb::ListConversationsResponse>, Status> {
        let user_id = caller(&request)?.claims.user_id;
        let request = request.into_inner();
        let page = Page::<Place>::new(request.limit, &request.cursor)?;
        let rows = conversations::list(&self.store, user_id, page.cursor, page.rows()).await;
        let (rows, next_cursor) = page.cut(rows.map_err(turnpike_store::fault)?, |row| Place::from(row));
        let conversations = rows.into_iter().map(to_pb_conversation).collect();
        Ok(Response::new(pb::ListConversationsResponse { conversations, next_cursor }))
    }

    async fn get_conversation(
        &self,
        request: Request<pb::GetConversationRequest>,
    ) -> Result<Response<pb::Conversation>, Status> {
        let caller = caller(&request)?.clone();
        let found = self.own(&caller, &request.into_inner().conversation_id).await?;
        Ok(Response::new(to_pb_conversation(found)))
    }

    async fn update_conversation(
        &self,
        request: Request<pb::UpdateConversationRequest>,
    ) -> Result<Response<pb::Conversation>, Status> {
        let user_id = caller(&request)?.claims.user_id;
        let request = request.into_inner();
        let id = conversation_id(&request.conversation_id)?;
        let changes = Changes {
            title: request.title.map(|title| required_line("title", &title, MAX_TITLE)).transpose()?,
            pinned: request.pinned,
            persona_id: request.persona_id.map(|id| persona_id(&id)).transpose()?,
            system_prompt: request.system_prompt.map(system_prompt).transpose()?,
        };
        let updated = changes::update(&self.store, id, user_id, changes, self.clock.now()).await;
        match updated.map_err(turnpike_store::fault)? {
            Updated::Done(conversation) => {
                self.bell.ring();
                Ok(Response::new(to_pb_conversation(*conversation)))
            }
            Updated::Missing => Err(missing().into()),
            Updated::UnknownPersona => Err(unknown_persona().into()),
        }
    }

    async fn delete_conversation(
        &self,
        request: Request<pb::DeleteConversationRequest>,
    ) -> Result<Response<pb::DeleteConversationResponse>, Status> {
        let user_id = caller(&request)?.claims.user_id;
        let id = conversation_id(&request.into_inner().conversation_id)?;
        let deleted = removal::delete(&self.store, id, user_id, self.clock.now()).await;
        if !deleted.map_err(turnpike_store::fault)? {
            return Err(missing().into());
        }
        self.bell.ring();
        Ok(Response::new(pb::DeleteConversationResponse {}))
    }

    async fn list_messages(
        &self,
        request: Request<pb::ListMessagesRequest>,
    ) -> Result<Response<pb::ListMessagesResponse>, Status> {
        let caller = caller(&request)?.clone();
        let request = request.into_inner();
        let conversation = self.own(&caller, &request.conversation_id).await?;
        let limit = Page::<u32>::new(request.limit, "")?.rows() - 1;
        let (field, end) = match (request.before.as_str(), request.leaf_message_id.as_str()) {
            ("", "") => match conversation.leaf_message_id {
                Some(leaf) => ("leaf_message_id", End::At(leaf)),
                None => return Ok(Response::new(Default::default())),
            },
            ("", leaf) => ("leaf_message_id", End::At(leaf.parse().map_err(|_| not_in_it("leaf_message_id"))?)),
            (before, _) => ("before", End::Before(before.parse().map_err(|_| not_in_it("before"))?)),
        };
        let page = messages::page(&self.store, conversation.id, end, limit).await.map_err(turnpike_store::fault)?;
        let (messages, more) = page.ok_or_else(|| not_in_it(field))?;
        let messages = messages.into_iter().map(to_pb_message).collect();
        Ok(Response::new(pb::ListMessagesResponse { messages, more }))
    }

    async fn select_version(
        &self,
        request: Request<pb::SelectVersionRequest>,
    ) -> Result<Response<pb::Conversation>, Status> {
        let caller = caller(&request)?.clone();
        let request = request.into_inner();
        let id = self.own(&caller, &request.conversation_id).await?.id;
        let no_message = || Fault::new(Kind::NotFound, "There is no such message");
        let mut message = request.message_id.parse().map_err(|_| no_message())?;
        if request.version > 0 {
            let version = messages::version_of(&self.store, id, message, request.version).await;
            message = version.map_err(turnpike_store::fault)?.ok_or_else(no_message)?;
        }
        let leaf = messages::newest_below(&self.store, id, message).await.map_err(turnpike_store::fault)?;
        let leaf = leaf.ok_or_else(no_message)?;
        let shown = changes::show(&self.store, id, caller.claims.user_id, leaf, self.clock.now()).await;
        let shown = shown.map_err(turnpike_store::fault)?.ok_or_else(missing)?;
        self.bell.ring();
        Ok(Response::new(to_pb_conversation(shown)))
    }

    async fn search(&self, request: Request<pb::SearchRequest>) -> Result<Response<pb::SearchResponse>, Status> {
        let user_id = caller(&request)?.claims.user_id;
        let request = request.into_inner();
        if request.query.chars().count() > MAX_QUERY {
            return Err(invalid("query", format!("must be at most {MAX_QUERY} characters")).into());
        }
        let limit = if request.limit == 0 { RESULTS } else { request.limit };
        let page = Page::<i64>::new(limit, &request.cursor)?;
        let Some(query) = Query::new(&request.query) else { return Ok(Response::new(Default::default())) };
        let hits = search::search(&self.store, user_id, &query, page.cursor, page.rows()).await;
        let (hits, next_cursor) = page.cut(hits.map_err(turnpike_store::fault)?, |hit| hit.n);
        let results = hits.into_iter().map(to_pb_hit).collect();
        Ok(Response::new(pb::SearchResponse { results, next_cursor }))
    }

    type ExportStream = ExportStream;
    type ExportAllStream = ExportStream;

    async fn export(&self, request: Request<pb::ExportRequest>) -> Result<Response<ExportStream>, Status> {
        let caller = caller(&request)?.clone();
        let request = request.into_inner();
        let format = format(request.format())?;
        let conversation = self.own(&caller, &request.conversation_id).await?;
        let (id, user_id) = (conversation.id, conversation.user_id);
        let writing = (self.store.clone(), Document::new(conversation, format));
        let parts = stream::try_unfold(writing, move |(store, mut document)| async move {
            let part = document.part(&store).await.map_err(turnpike_store::fault)?;
            Ok(part.map(|data| (to_pb_part(id, user_id, data), (store, document))))
        });
        Ok(Response::new(Box::pin(parts)))
    }

    async fn export_all(&self, request: Request<pb::ExportAllRequest>) -> Result<Response<ExportStream>, Status> {
        let request = request.into_inner();
        let format = format(request.format())?;
        let user_id = match request.user_id.as_str() {
            "" => None,
            id => Some(id.parse().map_err(|_| invalid("user_id", "must be the id of a user"))?),
        };
        let time = |field, at: Option<prost_types::Timestamp>| {
            let parsed = at.map(|at| timestamp::from_protobuf(at).ok_or_else(|| invalid(field, "must be a time")));
            parsed.transpose()
        };
        let filter = Filter { user_id, since: time("since", request.since)?, until: time("until", request.until)? };
        let writing = (self.store.clone(), Bulk::new(filter, format));
        let parts = stream::try_unfold(writing, |(store, mut bulk)| async move {
            let part = bulk.part(&store).await.map_err(turnpike_store::fault)?;
            Ok(part.map(|(id, user_id, data)| (to_pb_part(id, user_id, data), (store, bulk))))
        });
        Ok(Response::new(Box::pin(parts)))
    }

    async fn create_persona(
        &self,
        request: Request<pb::CreatePersonaRequest>,
    ) -> Result<Response<pb::CreatePersonaResponse>, Status> {
        let editor = editor(caller(&request)?);
        let request = request.into_inner();
        if request.system_wide && !editor.admin {
            return Err(Fault::from(PersonaError::NotAdmin).into());
        }
        let key = Key::new(editor.user_id, &request.idempotency_key, hash_of_persona(&request))?;
        let new = new_persona(request, editor.user_id, self.clock.now())?;
        let (created, replayed) = personas::create(&self.store, new, key).await.map_err(Fault::from)?;
        Ok(Response::new(pb::CreatePersonaResponse { persona: Some(to_pb_persona(created)), replayed }))
    }

    async fn list_personas(
        &self,
        request: Request<pb::ListPersonasRequest>,
    ) -> Result<Response<pb::ListPersonasResponse>, Status> {
        let user_id = caller(&request)?.claims.user_id;
        let personas = personas::list(&self.store, user_id).await.map_err(turnpike_store::fault)?;
        Ok(Response::new(pb::ListPersonasResponse { personas: personas.into_iter().map(to_pb_persona).collect() }))
    }

    async fn update_persona(
        &self,
        request: Request<pb::UpdatePersonaRequest>,
    ) -> Result<Response<pb::Persona>, Status> {
        let editor = editor(caller(&request)?);
        let request = request.into_inner();
        let id = request.persona_id.parse().map_err(|_| Fault::from(PersonaError::Missing))?;
        let changes = persona_changes(request)?;
        let updated = personas::update(&self.store, id, editor, changes).await.map_err(Fault::from)?;
        Ok(Response::new(to_pb_persona(updated)))
    }

    async fn delete_persona(
        &self,
        request: Request<pb::DeletePersonaRequest>,
    ) -> Result<Response<pb::DeletePersonaResponse>, Status> {
        let editor = editor(caller(&request)?);
        let id = request.into_inner().persona_id.parse().map_err(|_| Fault::from(PersonaError::Missing))?;
        personas::delete(&self.store, id, editor).await.map_err(Fault::from)?;
        Ok(Response::new(pb::DeletePersonaResponse {}))
    }
}

fn editor(caller: &Caller) -> Editor {
    Editor { user_id: caller.claims.user_id, admin: caller.claims.role == Role::Admin }
}

/// An id that is not well-formed names no conversation.
fn conversation_id(text: &str) -> Result<ConversationId, Fault> {
    text.parse().map_err(|_| missing())
}

/// Empty: none.
fn persona_id(text: &str) -> Result<Option<PersonaId>, Fault> {
    match text {
        "" => Ok(None),
        id => id.parse().map(Some).map_err(|_| unknown_persona()),
    }
}

fn not_in_it(field: &str) -> Fault {
    invalid(field, "must be the id of a message of this conversation")
}

fn format(format: pb::ExportFormat) -> Result<Format, Fault> {
    match format {
        pb::ExportFormat::Json => Ok(Format::Json),
        pb::ExportFormat::Markdown => Ok(Format::Markdown),
        pb::ExportFormat::Unspecified => Err(invalid("format", "must be JSON or Markdown")),
    }
}

/// Equal requests have equal hashes. Lengths keep two fields apart.
fn hash(request: &pb::CreateConversationRequest) -> String {
    let pb::CreateConversationRequest { title, temporary, persona_id, system_prompt, .. } = request;
    hex(format!("conversation {}\n{title}\n{temporary}\n{persona_id}\n{system_prompt}", title.len()))
}

fn hash_of_persona(request: &pb::CreatePersonaRequest) -> String {
    let pb::CreatePersonaRequest { name, description, system_prompt, temperature, system_wide, .. } = request;
    let lengths = (name.len(), description.len());
    hex(format!("persona {lengths:?}\n{name}\n{description}\n{temperature:?}\n{system_wide}\n{system_prompt}"))
}

fn hex(request: String) -> String {
    Sha256::digest(request).iter().map(|byte| format!("{byte:02x}")).collect()
}
