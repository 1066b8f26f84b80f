//! `/v1/models`.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;
use turnpike_fault::{Fault, Kind};
use turnpike_identity::Caller;
use turnpike_proto::chat::v1 as pb;
use utoipa::ToSchema;

use super::error::{Client, ErrorBody, OpenAiError};
use crate::app::Chat;

#[derive(Serialize, ToSchema)]
#[schema(as = OpenAiModel)]
pub(crate) struct Model {
    id: String,
    /// `model`.
    object: &'static str,
    /// Seconds since 1970.
    created: i64,
    owned_by: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OpenAiModels)]
pub(crate) struct Models {
    /// `list`.
    object: &'static str,
    data: Vec<Model>,
}

impl From<pb::Model> for Model {
    fn from(model: pb::Model) -> Self {
        let created = model.created_at.map_or(0, |at| at.seconds);
        Self { id: model.id, object: "model", created, owned_by: model.owned_by }
    }
}

/// The models that can answer.
#[utoipa::path(get, path = "/v1/models", tag = "openai", responses((status = 200, body = Models)))]
pub(crate) async fn list_models(
    State(chat): State<Chat>,
    Client(caller, _): Client,
) -> Result<Json<Models>, OpenAiError> {
    Ok(Json(Models { object: "list", data: models(&chat, &caller).await?.collect() }))
}

/// One model. Its name may contain slashes.
#[utoipa::path(get, path = "/v1/models/{*id}", tag = "openai", params(("id" = String, Path)),
    responses((status = 200, body = Model), (status = 404, body = ErrorBody)))]
pub(crate) async fn get_model(
    State(chat): State<Chat>,
    Client(caller, _): Client,
    Path(id): Path<String>,
) -> Result<Json<Model>, OpenAiError> {
    let found = models(&chat, &caller).await?.find(|model| model.id == id);
    found.map(Json).ok_or_else(|| {
        let detail = "There is no such model; GET /v1/models lists those that there are";
        Fault::new(Kind::NotFound, detail).code_is("MODEL_NOT_FOUND").into()
    })
}

async fn models(chat: &Chat, caller: &Caller) -> Result<impl Iterator<Item = Model>, OpenAiError> {
    let answer = chat.models().list_models(caller.token.request(pb::ListModelsRequest {})).await?.into_inner();
    Ok(answer.models.into_iter().map(Model::from))
}
