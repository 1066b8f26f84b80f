//! `/api/chat/personas`: named instructions for models.

use axum::{Json, extract::State};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use turnpike_fault::Fault;
use turnpike_proto::chat::v1 as pb;
use turnpike_topic::PersonaId;
use utoipa::ToSchema;

use crate::{
    access::{body::Body, caller::SignedIn},
    app::Chat,
    http::{
        Answer,
        extract::{Id, present},
        idempotency,
        problem::ProblemBody,
        rfc3339,
    },
};

#[derive(Serialize, ToSchema)]
pub(crate) struct Persona {
    #[schema(format = Uuid)]
    id: String,
    /// For every user.
    system_wide: bool,
    name: String,
    description: String,
    system_prompt: String,
    /// `null`: the model's default.
    temperature: Option<f64>,
    #[schema(format = DateTime)]
    created_at: Option<String>,
}

impl From<pb::Persona> for Persona {
    fn from(persona: pb::Persona) -> Self {
        Self {
            id: persona.id,
            system_wide: persona.user_id.is_empty(),
            name: persona.name,
            description: persona.description,
            system_prompt: persona.system_prompt,
            temperature: persona.temperature,
            created_at: rfc3339(persona.created_at),
        }
    }
}

/// The caller's personas and the system-wide ones, by name.
#[utoipa::path(get, path = "/api/chat/personas", tag = "chat", responses((status = 200, body = Vec<Persona>)))]
pub(crate) async fn list_personas(State(chat): State<Chat>, SignedIn(caller): SignedIn) -> Answer<Json<Vec<Persona>>> {
    let message = caller.token.request(pb::ListPersonasRequest {});
    let answer = chat.conversations().list_personas(message).await?.into_inner();
    Ok(Json(answer.personas.into_iter().map(Persona::from).collect()))
}

/// A persona. The role admin is needed for a system-wide one.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NewPersona {
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    #[schema(max_length = 500)]
    description: Option<String>,
    /// At most 16 KiB.
    system_prompt: Option<String>,
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f64>,
    system_wide: Option<bool>,
}

/// Create a persona.
///
/// `Idempotency-Key` makes a repeated request get the response of the first one for 24 hours.
#[utoipa::path(post, path = "/api/chat/personas", tag = "chat", request_body = NewPersona,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = Persona), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 422, body = ProblemBody)))]
pub(crate) async fn create_persona(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    headers: HeaderMap,
    Body(new, _): Body<NewPersona>,
) -> Answer<(StatusCode, HeaderMap, Json<Persona>)> {
    let message = pb::CreatePersonaRequest {
        name: new.name,
        description: new.description.unwrap_or_default(),
        system_prompt: new.system_prompt.unwrap_or_default(),
        temperature: new.temperature,
        system_wide: new.system_wide.unwrap_or_default(),
        idempotency_key: idempotency::key(&headers)?,
    };
    let answer = chat.conversations().create_persona(caller.token.request(message)).await?.into_inner();
    let persona = answer.persona.ok_or_else(Fault::internal)?;
    Ok((StatusCode::CREATED, idempotency::replayed(answer.replayed), Json(persona.into())))
}

/// Changes of a persona. An absent field stays as it is.
#[derive(Deserialize, ToSchema)]
pub(crate) struct PersonaChanges {
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    #[schema(max_length = 500)]
    description: Option<String>,
    /// At most 16 KiB.
    system_prompt: Option<String>,
    /// `null`: the model's default.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 2)]
    temperature: Option<Option<f64>>,
}

/// Change a persona. Only an admin may change a system-wide one.
#[utoipa::path(patch, path = "/api/chat/personas/{id}", tag = "chat", request_body = PersonaChanges,
    params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = Persona), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody), (status = 422, body = ProblemBody)))]
pub(crate) async fn update_persona(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    Id(id): Id<PersonaId>,
    Body(changes, _): Body<PersonaChanges>,
) -> Answer<Json<Persona>> {
    let message = pb::UpdatePersonaRequest {
        persona_id: id.to_string(),
        name: changes.name,
        description: changes.description,
        system_prompt: changes.system_prompt,
        temperature: changes.temperature.flatten(),
        default_temperature: changes.temperature == Some(None),
    };
    Ok(Json(chat.conversations().update_persona(caller.token.request(message)).await?.into_inner().into()))
}

/// Delete a persona. Conversations that used it have none afterwards.
#[utoipa::path(delete, path = "/api/chat/personas/{id}", tag = "chat", params(("id" = String, Path, format = Uuid)),
    responses((status = 204), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(crate) async fn delete_persona(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    Id(id): Id<PersonaId>,
) -> Answer<StatusCode> {
    let message = pb::DeletePersonaRequest { persona_id: id.to_string() };
    chat.conversations().delete_persona(caller.token.request(message)).await?;
    Ok(StatusCode::NO_CONTENT)
}
