//! `/api/rooms/{id}/insights`: data about the caller's health.

use axum::{Json, extract::State};
use http::StatusCode;
use serde::Serialize;
use turnpike_topic::RoomId;
use utoipa::ToSchema;

use crate::{
    access::{body::Body, caller::SignedIn},
    app::Chat,
    http::{Answer, extract::Id, problem::ProblemBody},
    stream::socket::{context::SocketContext, health::HealthData},
};

/// As many points as are analysed, with long names of metrics.
const MAX_BODY: usize = 2 << 20;

#[derive(Serialize, ToSchema)]
pub(crate) struct Accepted {
    /// The points that are analysed.
    data_points: u32,
}

/// Analyse data about the caller's health.
///
/// The progress (`analysis_update`) and one `health_insight` for each finding are sent to the caller's sockets in the room, and to
/// nobody else. They are not stored. The insights are those of the configured language model, else statistics; `source` says which. A
/// user has one analysis at a time. It counts against the caller's messages a minute.
#[utoipa::path(post, path = "/api/rooms/{id}/insights", tag = "rooms", request_body = HealthData,
    params(("id" = String, Path, format = Uuid)),
    responses((status = 202, body = Accepted), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody),
        (status = 429, body = ProblemBody), (status = 503, body = ProblemBody)))]
pub(crate) async fn analyze_health(
    State(chat): State<Chat>,
    State(sockets): State<SocketContext>,
    SignedIn(caller): SignedIn,
    Id(id): Id<RoomId>,
    Body(data, _): Body<HealthData, MAX_BODY>,
) -> Answer<(StatusCode, Json<Accepted>)> {
    sockets.messages.count(caller.claims.user_id)?;
    let answer = chat.rooms().analyze_health(caller.token.request(data.request(id))).await?.into_inner();
    Ok((StatusCode::ACCEPTED, Json(Accepted { data_points: answer.data_points })))
}
