//! Between the types of this service and generated ones.

use jiff::Timestamp;
use turnpike_fault::Fault;
use turnpike_proto::{chat::v1 as pb, timestamp};
use turnpike_topic::{ConversationId, PersonaId, UserId};

use crate::{
    conversations::Conversation,
    fields::{invalid, line, required_line, system_prompt},
    messages::{Message, Role, State},
    personas::{Changes, Persona},
    search::Hit,
};

/// Characters of a persona's name and description.
const MAX_NAME: usize = 100;
const MAX_DESCRIPTION: usize = 500;

pub(crate) fn to_pb_conversation(conversation: Conversation) -> pb::Conversation {
    pb::Conversation {
        id: conversation.id.to_string(),
        user_id: conversation.user_id.to_string(),
        title: conversation.title,
        pinned: conversation.pinned,
        temporary: conversation.temporary,
        persona_id: conversation.persona_id.map(|id| id.to_string()).unwrap_or_default(),
        system_prompt: conversation.system_prompt,
        leaf_message_id: conversation.leaf_message_id.map(|id| id.to_string()).unwrap_or_default(),
        created_at: Some(timestamp::to_protobuf(conversation.created_at)),
        updated_at: Some(timestamp::to_protobuf(conversation.updated_at)),
    }
}

pub(crate) fn to_pb_message(message: Message) -> pb::Message {
    let state = match message.state {
        State::Complete => pb::MessageState::Complete,
        State::Generating => pb::MessageState::Generating,
        State::Stopped => pb::MessageState::Stopped,
        State::Interrupted => pb::MessageState::Interrupted,
        State::Error => pb::MessageState::Error,
    };
    let of_a_model = message.role == Role::Assistant;
    let usage = pb::Usage {
        prompt_tokens: message.prompt_tokens,
        completion_tokens: message.completion_tokens,
        total_tokens: message.prompt_tokens.saturating_add(message.completion_tokens),
        estimated: message.estimated,
    };
    let timing = pb::Timing { first_token_ms: message.first_token_ms, total_ms: message.total_ms };
    pb::Message {
        id: message.id.to_string(),
        conversation_id: message.conversation_id.to_string(),
        parent_id: message.parent_id.map(|id| id.to_string()).unwrap_or_default(),
        role: message.role.as_str().to_owned(),
        content: message.content,
        reasoning_content: message.reasoning_content,
        state: state.into(),
        finish_reason: message.finish_reason,
        model: message.model,
        usage: of_a_model.then_some(usage),
        timing: of_a_model.then_some(timing),
        error_code: message.error_code,
        error_message: message.error_message,
        version: message.version,
        versions: message.versions,
        created_at: Some(timestamp::to_protobuf(message.created_at)),
    }
}

pub(crate) fn to_pb_hit(hit: Hit) -> pb::SearchResult {
    pb::SearchResult {
        conversation_id: hit.conversation_id.to_string(),
        conversation_title: hit.title,
        message_id: hit.message_id.map(|id| id.to_string()).unwrap_or_default(),
        snippet: hit.snippet.text,
        role: hit.role,
        created_at: Some(timestamp::to_protobuf(hit.created_at)),
        marks: hit.snippet.marks.into_iter().map(|(start, length)| pb::Mark { start, length }).collect(),
    }
}

pub(crate) fn to_pb_part(id: ConversationId, user_id: UserId, data: Vec<u8>) -> pb::ExportPart {
    pb::ExportPart { conversation_id: id.to_string(), user_id: user_id.to_string(), data: data.into() }
}

pub(crate) fn to_pb_persona(persona: Persona) -> pb::Persona {
    pb::Persona {
        id: persona.id.to_string(),
        user_id: persona.user_id.map(|id| id.to_string()).unwrap_or_default(),
        name: persona.name,
        description: persona.description,
        system_prompt: persona.system_prompt,
        temperature: persona.temperature,
        created_at: Some(timestamp::to_protobuf(persona.created_at)),
    }
}

/// Validates a new persona of this user.
pub(crate) fn new_persona(
    request: pb::CreatePersonaRequest,
    user_id: UserId,
    now: Timestamp,
) -> Result<Persona, Fault> {
    Ok(Persona {
        id: PersonaId::new(now),
        user_id: (!request.system_wide).then_some(user_id),
        name: required_line("name", &request.name, MAX_NAME)?,
        description: line("description", &request.description, MAX_DESCRIPTION)?,
        system_prompt: system_prompt(request.system_prompt)?,
        temperature: request.temperature.map(temperature).transpose()?,
        created_at: now,
    })
}

pub(crate) fn persona_changes(request: pb::UpdatePersonaRequest) -> Result<Changes, Fault> {
    if request.default_temperature && request.temperature.is_some() {
        return Err(invalid("default_temperature", "cannot be set together with temperature"));
    }
    Ok(Changes {
        name: request.name.map(|name| required_line("name", &name, MAX_NAME)).transpose()?,
        description: request.description.map(|text| line("description", &text, MAX_DESCRIPTION)).transpose()?,
        system_prompt: request.system_prompt.map(system_prompt).transpose()?,
        temperature: request.temperature.map(temperature).transpose()?,
        default_temperature: request.default_temperature,
    })
}

fn temperature(value: f64) -> Result<f64, Fault> {
    if (0.0..=2.0).contains(&value) { Ok(value) } else { Err(invalid("temperature", "must be from 0 to 2")) }
}
