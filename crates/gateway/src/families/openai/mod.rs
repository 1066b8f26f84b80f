//! `/v1`: the API of OpenAI, for clients of it. Requests to language models and their responses are passed on unchanged; only the
//! credential and the limits are this program's. Recordings of speech are transcribed by the captions service.

mod error;
mod forward;
mod late;
mod models;
mod relay;
mod transcription_form;
mod transcription_text;
mod transcriptions;

use axum::Extension;
use turnpike_token::Scope;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{access::scope::ApiKeys, app::App};

pub(crate) use error::{ErrorBody, OpenAiError};

/// The paths of this family. Errors of every path below it have OpenAI's form.
pub(crate) const PREFIX: &str = "/v1/";
/// The tag of its operations.
pub(crate) const TAG: &str = "openai";

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(forward::chat_completions))
        .routes(routes!(forward::completions))
        .routes(routes!(forward::responses))
        .routes(routes!(forward::embeddings))
        .routes(routes!(models::list_models))
        .routes(routes!(models::get_model))
        .layer(Extension(ApiKeys::Of(Scope::Llm)))
        .merge(speech())
}

fn speech() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(transcriptions::create_transcription))
        .layer(Extension(ApiKeys::Of(Scope::Captions)))
}
