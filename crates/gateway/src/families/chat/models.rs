//! The models of the configured servers.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use turnpike_identity::Caller;
use turnpike_proto::chat::v1 as pb;
use utoipa::ToSchema;

use super::Confirmation;
use crate::{
    access::{
        body::Body,
        caller::{Admin, SignedIn},
    },
    app::Chat,
    http::{Answer, problem::ProblemBody, rfc3339},
};

#[derive(Serialize, ToSchema)]
pub(crate) struct Model {
    id: String,
    /// The position of its server in `TURNPIKE_LLM_URL`, from 1; 0: the built-in scripted model.
    server: u32,
    owned_by: String,
    #[schema(format = DateTime)]
    created_at: Option<String>,
    /// It answers requests that name no model.
    active: bool,
}

impl From<pb::Model> for Model {
    fn from(model: pb::Model) -> Self {
        Self {
            id: model.id,
            server: model.server,
            owned_by: model.owned_by,
            created_at: rfc3339(model.created_at),
            active: model.active,
        }
    }
}

/// The models that can answer.
#[utoipa::path(get, path = "/api/chat/models", tag = "chat", responses((status = 200, body = Vec<Model>)))]
pub(crate) async fn list_models(State(chat): State<Chat>, SignedIn(caller): SignedIn) -> Answer<Json<Vec<Model>>> {
    models(&chat, &caller).await
}

/// The models of every configured server.
#[utoipa::path(get, path = "/api/admin/models", tag = "admin",
    responses((status = 200, body = Vec<Model>), (status = 403, body = ProblemBody)))]
pub(crate) async fn list_all_models(State(chat): State<Chat>, Admin(caller): Admin) -> Answer<Json<Vec<Model>>> {
    models(&chat, &caller).await
}

async fn models(chat: &Chat, caller: &Caller) -> Answer<Json<Vec<Model>>> {
    let message = caller.token.request(pb::ListModelsRequest {});
    let answer = chat.models().list_models(message).await?.into_inner();
    Ok(Json(answer.models.into_iter().map(Model::from).collect()))
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct LoadModel {
    #[schema(min_length = 1)]
    model: String,
}

/// Load a model, which then answers requests that name none. 409: the server cannot load models.
#[utoipa::path(post, path = "/api/admin/models/load", tag = "admin", request_body = LoadModel,
    responses((status = 200, body = Confirmation), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody), (status = 409, body = ProblemBody), (status = 422, body = ProblemBody)))]
pub(crate) async fn load_model(
    State(chat): State<Chat>,
    Admin(caller): Admin,
    Body(load, _): Body<LoadModel>,
) -> Answer<Json<Confirmation>> {
    let message = pb::LoadModelRequest { model: load.model };
    chat.slow_models().load_model(caller.token.request(message)).await?;
    Ok(Json(Confirmation { message: "Model loaded" }))
}

/// Unload the active model. 409: the server cannot unload models.
#[utoipa::path(post, path = "/api/admin/models/unload", tag = "admin",
    responses((status = 200, body = Confirmation), (status = 403, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(crate) async fn unload_model(State(chat): State<Chat>, Admin(caller): Admin) -> Answer<Json<Confirmation>> {
    chat.slow_models().unload_model(caller.token.request(pb::UnloadModelRequest {})).await?;
    Ok(Json(Confirmation { message: "Model unloaded" }))
}
