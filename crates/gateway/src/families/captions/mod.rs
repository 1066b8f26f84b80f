//! `/api/captions`: live captions of speech.

mod audio;
pub(crate) mod cues;
mod engines;
mod finals;
mod outputs;
mod search;
mod sessions;
mod transcript;

use axum::Extension;
use turnpike_token::Scope;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{access::scope::ApiKeys, app::App};

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(sessions::list_caption_sessions, sessions::open_caption_session))
        .routes(routes!(sessions::stop_caption_session))
        .routes(routes!(search::search_captions))
        .routes(routes!(sessions::caption_snapshot))
        .routes(routes!(sessions::caption_metrics))
        .routes(routes!(sessions::pause_captions))
        .routes(routes!(sessions::resume_captions))
        .routes(routes!(sessions::finalize_captions))
        .routes(routes!(outputs::captions_vtt))
        .routes(routes!(outputs::captions_srt))
        .routes(routes!(outputs::captions_text))
        .routes(routes!(finals::list_captions))
        .routes(routes!(outputs::captions_json))
        .routes(routes!(finals::correct_caption))
        .routes(routes!(audio::captions_audio))
        .routes(routes!(engines::list_caption_engines))
        .routes(routes!(engines::test_captions))
        .layer(Extension(ApiKeys::Of(Scope::Captions)))
}
