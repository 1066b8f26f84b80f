//! The generated trait AnswerService: parse, call, convert.

use std::pin::Pin;

use futures_util::{Stream, stream};
use sha2::{Digest, Sha256};
use tonic::{Request, Response, Status};
use turnpike_fault::{Fault, Kind};
use turnpike_identity::{Caller, caller};
use turnpike_proto::chat::v1::{self as pb, answer_service_server::AnswerService};
use turnpike_store::idempotency::{Key, Known};
use turnpike_topic::ConversationId;

use crate::{
    answers::{self, Answering, Entry, MAX_CONTENT_BYTES, Replay, Resources, Submission, Tail, What},
    budget::{self, ApiKey},
    conversations,
};

pub(crate) struct AnswerRpc {
    pub(crate) resources: Resources,
}

type Events = Pin<Box<dyn Stream<Item = Result<pb::AnswerEvent, Status>> + Send>>;

#[tonic::async_trait]
impl AnswerService for AnswerRpc {
    type SendMessageStream = Events;
    type RegenerateStream = Events;

    async fn send_message(&self, request: Request<pb::SendMessageRequest>) -> Result<Response<Events>, Status> {
        let caller = caller(&request)?.clone();
        let request = request.into_inner();
        let conversation_id = parse_conversation(&request.conversation_id)?;
        if request.content.trim().is_empty() {
            return Err(invalid("content", "must not be empty").into());
        }
        if request.content.len() > MAX_CONTENT_BYTES {
            return Err(invalid("content", format!("must have at most {MAX_CONTENT_BYTES} bytes")).into());
        }
        let edit_of = match request.edit_of.as_str() {
            "" => None,
            id => Some(id.parse().map_err(|_| invalid("edit_of", "must be the id of a message"))?),
        };
        let hash = hash(&["message", &request.conversation_id, &request.content, &request.model, &request.edit_of]);
        let what = What::Message { content: request.content, edit_of };
        self.answer(&caller, conversation_id, request.model, what, &request.idempotency_key, hash).await
    }

    async fn regenerate(&self, request: Request<pb::RegenerateRequest>) -> Result<Response<Events>, Status> {
        let caller = caller(&request)?.clone();
        let request = request.into_inner();
        let conversation_id = parse_conversation(&request.conversation_id)?;
        let message_id =
            request.message_id.parse().map_err(|_| Fault::new(Kind::NotFound, "There is no such message"))?;
        let hash = hash(&["regenerate", &request.conversation_id, &request.message_id, &request.model]);
        let what = What::Again { message_id };
        self.answer(&caller, conversation_id, request.model, what, &request.idempotency_key, hash).await
    }

    async fn stop_answer(
        &self,
        request: Request<pb::StopAnswerRequest>,
    ) -> Result<Response<pb::StopAnswerResponse>, Status> {
        let user_id = caller(&request)?.claims.user_id;
        let id = parse_conversation(&request.into_inner().conversation_id)?;
        let own = conversations::get_of(&self.resources.store, id, user_id).await.map_err(turnpike_store::fault)?;
        own.ok_or_else(conversations::missing)?;
        let stopped = answers::stop(&self.resources, id).await.map_err(turnpike_store::fault)?;
        let message_id = stopped.map(|id| id.to_string()).unwrap_or_default();
        Ok(Response::new(pb::StopAnswerResponse { message_id }))
    }
}

impl AnswerRpc {
    async fn answer(
        &self,
        caller: &Caller,
        conversation_id: ConversationId,
        model: String,
        what: What,
        key: &str,
        hash: String,
    ) -> Result<Response<Events>, Status> {
        let user_id = caller.claims.user_id;
        if model.len() > MAX_MODEL_BYTES || model.contains(char::is_control) {
            return Err(invalid(
                "model",
                format!("must have at most {MAX_MODEL_BYTES} bytes, without control characters"),
            )
            .into());
        }
        let key = Key::new(user_id, key, hash)?;
        let key_of_caller = caller.claims.api_key.map(ApiKey::from);
        let (store, limits, clock) = (&self.resources.store, &self.resources.limits, &self.resources.clock);
        let known = match &key {
            Some(key) => key.look_up(store, clock.now()).await.map_err(turnpike_store::fault)?,
            None => Known::New,
        };
        if known == Known::New {
            budget::check(store, limits, user_id, key_of_caller.as_ref(), clock.now()).await.map_err(Fault::from)?;
        }
        let submission = Submission {
            user_id,
            api_key_id: key_of_caller.map(|key| key.id).unwrap_or_default(),
            conversation_id,
            model,
            what,
            key,
        };
        Ok(Response::new(match answers::start(&self.resources, &submission).await? {
            Answering::New(tail) => Box::pin(stream::unfold(tail, next_of_tail)),
            Answering::Before(id) => {
                let replay = Replay::of(&self.resources, id).await.map_err(turnpike_store::fault)?;
                let replay = replay.ok_or_else(conversations::missing)?;
                Box::pin(stream::unfold((replay, true), next_of_replay))
            }
        }))
    }
}

/// The longest name of a model.
const MAX_MODEL_BYTES: usize = 256;

type Next<S> = Option<(Result<pb::AnswerEvent, Status>, S)>;

async fn next_of_tail(mut tail: Tail) -> Next<Tail> {
    let entry = tail.next().await?;
    Some((Ok(to_pb(entry, false)), tail))
}

/// The first event says that it is a replay.
async fn next_of_replay((mut replay, replayed): (Replay, bool)) -> Next<(Replay, bool)> {
    let entry = replay.next().await?;
    Some((Ok(to_pb(entry, replayed)), (replay, false)))
}

fn to_pb(entry: Entry, replayed: bool) -> pb::AnswerEvent {
    let offset = entry.offset.map(|offset| offset.to_string()).unwrap_or_default();
    pb::AnswerEvent { offset, event: entry.event, replayed }
}

fn parse_conversation(id: &str) -> Result<ConversationId, Fault> {
    id.parse().map_err(|_| conversations::missing())
}

fn invalid(field: &str, message: impl Into<String>) -> Fault {
    Fault::new(Kind::Validation, "The request is not valid").field(field, message)
}

/// Identifies a request. The parts have lengths, so that two requests never look the same.
fn hash(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
