//! `/api/captions/sessions`.

use std::collections::HashMap;

use axum::{Json, extract::State};
use http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use tonic::Status;
use turnpike_fault::{Fault, Kind};
use turnpike_proto::captions::v1 as pb;
use turnpike_token::Scope;
use turnpike_topic::CaptionsSessionId;
use utoipa::ToSchema;

use super::finals::Final;
use crate::{
    access::{
        body::OptionalBody,
        caller::SignedIn,
        scope::{self, ApiKeys},
    },
    app::Captions,
    http::{
        Answer,
        extract::{Id, Page, Query, next_link},
        idempotency,
        problem::ProblemBody,
        rfc3339,
    },
};

#[derive(Deserialize, Serialize, ToSchema)]
#[schema(as = CaptionAudio)]
pub(crate) struct Audio {
    /// How a sample is encoded; `pcm_s16le` if absent.
    encoding: Option<Encoding>,
    /// Samples a second; 16000 if absent.
    #[schema(minimum = 8000, maximum = 96000)]
    sample_rate: Option<u32>,
}

#[derive(Clone, Copy, Deserialize, Serialize, ToSchema)]
#[schema(as = CaptionEncoding)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Encoding {
    PcmS16le,
    PcmF32le,
}

#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct NewCaptionSession {
    /// BCP 47; `en` if absent.
    language: Option<String>,
    /// The configured engine if absent.
    engine: Option<String>,
    /// One channel of 16 kHz and 16 bits if absent.
    audio: Option<Audio>,
    /// Keep the audio as long as the transcript; false if absent.
    keep_audio: Option<bool>,
    /// The name of a language or a BCP 47 tag: the configured language model translates the finals, which followers get as events
    /// `translation`. Not translated if absent.
    #[schema(min_length = 2, max_length = 40, example = "German")]
    translate_to: Option<String>,
    /// Translate partials, too; false if absent.
    translate_partials: Option<bool>,
    /// A room of which the caller is a member: each final becomes a message of the caller, whose `source` is the topic of the session.
    #[schema(format = Uuid)]
    room_id: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct CaptionSession {
    #[schema(format = Uuid)]
    session_id: String,
    /// `running` exactly while the session takes or transcribes audio.
    status: &'static str,
    /// starting, running, paused, draining, stopped or failed.
    state: &'static str,
    /// Why the session is in this state; empty: nothing to say.
    reason: String,
    config: CaptionConfig,
    #[schema(format = DateTime)]
    created_at: Option<String>,
    #[schema(format = DateTime)]
    ended_at: Option<String>,
    /// Samples that have arrived: audio continues here.
    samples: u64,
    /// Samples whose words are published.
    stored_samples: u64,
    final_count: u64,
    /// How far the finals are translated; null: they are not.
    translation: Option<CaptionsPassed>,
    /// How far the finals are in the room; null: there is none.
    room: Option<CaptionsPassed>,
    /// Where audio is sent and captions are received.
    stream: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct CaptionsPassed {
    /// Finals that are translated, or in the room.
    done: u64,
    /// Finals that could not be.
    missed: u64,
    waiting: u64,
    /// The code of the latest failure, such as `NO_MODEL` or `FORBIDDEN`; null: the latest attempt succeeded.
    problem: Option<String>,
}

impl From<pb::Passed> for CaptionsPassed {
    fn from(passed: pb::Passed) -> Self {
        let pb::Passed { done, missed, waiting, problem } = passed;
        Self { done, missed, waiting, problem: text(problem) }
    }
}

fn text(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

#[derive(Serialize, ToSchema)]
pub(crate) struct CaptionConfig {
    language: String,
    engine: String,
    audio: Audio,
    keep_audio: bool,
    translate_to: Option<String>,
    translate_partials: bool,
    room_id: Option<String>,
}

impl From<pb::Session> for CaptionSession {
    fn from(session: pb::Session) -> Self {
        let state = session.state();
        let (status, state) = match state {
            pb::State::Starting | pb::State::Unspecified => ("running", "starting"),
            pb::State::Running => ("running", "running"),
            pb::State::Paused => ("running", "paused"),
            pb::State::Draining => ("running", "draining"),
            pb::State::Stopped => ("stopped", "stopped"),
            pb::State::Failed => ("stopped", "failed"),
        };
        let audio = session.audio.unwrap_or_default();
        let encoding = match audio.encoding() {
            pb::Encoding::PcmF32le => Encoding::PcmF32le,
            pb::Encoding::PcmS16le | pb::Encoding::Unspecified => Encoding::PcmS16le,
        };
        let audio = Audio { encoding: Some(encoding), sample_rate: Some(audio.sample_rate) };
        Self {
            stream: format!("/ws/captions/{}", session.session_id),
            session_id: session.session_id,
            status,
            state,
            reason: session.reason,
            config: CaptionConfig {
                language: session.language,
                engine: session.engine,
                audio,
                keep_audio: session.keep_audio,
                translate_to: text(session.translate_to),
                translate_partials: session.translate_partials,
                room_id: text(session.room_id),
            },
            created_at: rfc3339(session.created_at),
            ended_at: rfc3339(session.ended_at),
            samples: session.samples,
            stored_samples: session.stored_samples,
            final_count: session.finals,
            translation: session.translation.map(CaptionsPassed::from),
            room: session.room.map(CaptionsPassed::from),
        }
    }
}

/// Open a caption session. Its audio goes to `stream`, or to the gRPC method `Transcribe`. 503 with `Retry-After` if this
/// installation transcribes as many sessions as it can, or has no speech model. 404 and 403 are about the room.
#[utoipa::path(post, path = "/api/captions/sessions", tag = "captions",
    params(("Idempotency-Key" = Option<String>, Header)), request_body = Option<NewCaptionSession>,
    responses((status = 201, body = CaptionSession), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 422, body = ProblemBody), (status = 503, body = ProblemBody),
        (status = 504, body = ProblemBody)))]
pub(crate) async fn open_caption_session(
    State(captions): State<Captions>,
    SignedIn(caller): SignedIn,
    headers: HeaderMap,
    OptionalBody(new, ..): OptionalBody<NewCaptionSession>,
) -> Answer<(StatusCode, HeaderMap, Json<CaptionSession>)> {
    // An API key that may transcribe may not for this alone use the language model, or write in rooms.
    for (is_used, scope) in [(new.translate_to.is_some(), Scope::Llm), (new.room_id.is_some(), Scope::Chat)] {
        if is_used {
            scope::admit(&caller.claims, Some(ApiKeys::Of(scope)), false)?;
        }
    }
    let audio = new.audio.map(|audio| pb::Audio {
        encoding: match audio.encoding {
            None | Some(Encoding::PcmS16le) => pb::Encoding::PcmS16le.into(),
            Some(Encoding::PcmF32le) => pb::Encoding::PcmF32le.into(),
        },
        sample_rate: audio.sample_rate.unwrap_or_default(),
    });
    let request = pb::OpenSessionRequest {
        language: new.language.unwrap_or_default(),
        engine: new.engine.unwrap_or_default(),
        audio,
        idempotency_key: idempotency::key(&headers)?,
        keep_audio: new.keep_audio.unwrap_or_default(),
        translate_to: new.translate_to.unwrap_or_default(),
        translate_partials: new.translate_partials.unwrap_or_default(),
        room_id: new.room_id.unwrap_or_default(),
    };
    let answer = captions.client().open_session(caller.token.request(request)).await?.into_inner();
    let session = answer.session.ok_or_else(Fault::internal)?;
    Ok((StatusCode::CREATED, idempotency::replayed(answer.replayed), Json(session.into())))
}

/// The caller's caption sessions that run or are kept, newest first.
#[utoipa::path(get, path = "/api/captions/sessions", tag = "captions", params(Page),
    responses((status = 200, body = Vec<CaptionSession>), (status = 422, body = ProblemBody)))]
pub(crate) async fn list_caption_sessions(
    State(captions): State<Captions>,
    SignedIn(caller): SignedIn,
    Query(page): Query<Page>,
    uri: Uri,
) -> Answer<(HeaderMap, Json<Vec<CaptionSession>>)> {
    let request = pb::ListSessionsRequest { limit: page.limit()?, cursor: page.cursor() };
    let answer = captions.client().list_sessions(caller.token.request(request)).await?.into_inner();
    let sessions = answer.sessions.into_iter().map(CaptionSession::from).collect();
    Ok((next_link(&uri, &answer.next_cursor), Json(sessions)))
}

#[derive(Serialize, ToSchema)]
pub(crate) struct CaptionSnapshot {
    #[serde(flatten)]
    session: CaptionSession,
    /// The last 20.
    finals: Vec<Final>,
    partial: Option<CaptionPartial>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct CaptionPartial {
    segment: u64,
    text: String,
    /// Does not change any more.
    committed: String,
    /// May still change.
    tentative: String,
    start_ms: u64,
    end_ms: u64,
}

impl From<pb::Partial> for CaptionPartial {
    fn from(partial: pb::Partial) -> Self {
        let pb::Partial { segment, committed, tentative, start_ms, end_ms } = partial;
        let text = format!("{committed} {tentative}").trim().to_owned();
        Self { segment, text, committed, tentative, start_ms, end_ms }
    }
}

/// An internal failure says only which part failed.
fn failed(status: Status, detail: &'static str) -> Fault {
    let fault = Fault::from(status);
    if fault.kind() == Kind::Internal { Fault::new(Kind::Internal, detail) } else { fault }
}

/// The state of a caption session, its last finals and its live partial.
#[utoipa::path(get, path = "/api/captions/sessions/{id}/snapshot", tag = "captions",
    params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = CaptionSnapshot), (status = 404, body = ProblemBody)))]
pub(crate) async fn caption_snapshot(
    State(captions): State<Captions>,
    SignedIn(caller): SignedIn,
    Id(id): Id<CaptionsSessionId>,
) -> Answer<Json<CaptionSnapshot>> {
    let request = caller.token.request(pb::GetSnapshotRequest { session_id: id.to_string() });
    let snapshot = captions.client().get_snapshot(request).await.map_err(|status| failed(status, "snapshot error"))?;
    let snapshot = snapshot.into_inner();
    Ok(Json(CaptionSnapshot {
        session: snapshot.session.ok_or_else(Fault::internal)?.into(),
        finals: snapshot.finals.into_iter().map(Final::from).collect(),
        partial: snapshot.partial.map(CaptionPartial::from),
    }))
}

#[derive(Serialize, ToSchema)]
pub(crate) struct CaptionMetrics {
    events: CaptionCounts,
    /// Finals by the reason for which their segment ended.
    eou_reasons: HashMap<String, u64>,
    /// Of the last 100 values, as those below. Target: p50 200, p95 300.
    partial_intervals_ms: Distribution,
    /// From the arrival of the last sample with speech to the publication of the final. Target: p95 800.
    final_latency_ms: Distribution,
    first_caption_ms: Distribution,
    /// From a finalize request to the publication of its final.
    finalize_ms: Distribution,
    events_per_second: CaptionRates,
    real_time_factor: f64,
    /// Audio that has arrived and is not yet transcribed.
    lag_ms: u64,
    level: CaptionLevel,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct CaptionCounts {
    partial_count: u64,
    final_count: u64,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct CaptionRates {
    partials: f64,
    finals: f64,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct CaptionLevel {
    rms: f64,
    peak: f64,
    clipped: f64,
}

#[derive(Default, Serialize, ToSchema)]
pub(crate) struct Distribution {
    count: u64,
    avg: f64,
    min: f64,
    max: f64,
    p50: f64,
    p95: f64,
}

impl From<Option<pb::Distribution>> for Distribution {
    fn from(distribution: Option<pb::Distribution>) -> Self {
        let pb::Distribution { count, avg, min, max, p50, p95 } = distribution.unwrap_or_default();
        Self { count, avg, min, max, p50, p95 }
    }
}

/// How a caption session performs.
#[utoipa::path(get, path = "/api/captions/sessions/{id}/metrics", tag = "captions",
    params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = CaptionMetrics), (status = 404, body = ProblemBody)))]
pub(crate) async fn caption_metrics(
    State(captions): State<Captions>,
    SignedIn(caller): SignedIn,
    Id(id): Id<CaptionsSessionId>,
) -> Answer<Json<CaptionMetrics>> {
    let request = caller.token.request(pb::GetMetricsRequest { session_id: id.to_string() });
    let metrics = captions.client().get_metrics(request).await.map_err(|status| failed(status, "metrics error"))?;
    let metrics = metrics.into_inner();
    Ok(Json(CaptionMetrics {
        events: CaptionCounts { partial_count: metrics.partial_count, final_count: metrics.final_count },
        eou_reasons: metrics.eou_reasons,
        partial_intervals_ms: metrics.partial_intervals_ms.into(),
        final_latency_ms: metrics.final_latency_ms.into(),
        first_caption_ms: metrics.first_caption_ms.into(),
        finalize_ms: metrics.finalize_ms.into(),
        events_per_second: CaptionRates { partials: metrics.partials_per_second, finals: metrics.finals_per_second },
        real_time_factor: metrics.real_time_factor,
        lag_ms: metrics.lag_ms,
        level: CaptionLevel { rms: metrics.rms, peak: metrics.peak, clipped: metrics.clipped },
    }))
}

/// Pause a caption session. Audio that arrives is acknowledged and dropped.
#[utoipa::path(post, path = "/api/captions/sessions/{id}/pause", tag = "captions",
    params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = CaptionSession), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(crate) async fn pause_captions(
    State(captions): State<Captions>,
    SignedIn(caller): SignedIn,
    Id(id): Id<CaptionsSessionId>,
) -> Answer<Json<CaptionSession>> {
    let request = caller.token.request(pb::PauseSessionRequest { session_id: id.to_string() });
    Ok(Json(captions.client().pause_session(request).await?.into_inner().into()))
}

/// Resume a paused caption session.
#[utoipa::path(post, path = "/api/captions/sessions/{id}/resume", tag = "captions",
    params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = CaptionSession), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(crate) async fn resume_captions(
    State(captions): State<Captions>,
    SignedIn(caller): SignedIn,
    Id(id): Id<CaptionsSessionId>,
) -> Answer<Json<CaptionSession>> {
    let request = caller.token.request(pb::ResumeSessionRequest { session_id: id.to_string() });
    Ok(Json(captions.client().resume_session(request).await?.into_inner().into()))
}

/// End the live segment now. The answer comes when its final is published.
#[utoipa::path(post, path = "/api/captions/sessions/{id}/finalize", tag = "captions",
    params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = CaptionSession), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
        (status = 504, body = ProblemBody)))]
pub(crate) async fn finalize_captions(
    State(captions): State<Captions>,
    SignedIn(caller): SignedIn,
    Id(id): Id<CaptionsSessionId>,
) -> Answer<Json<CaptionSession>> {
    let request = caller.token.request(pb::FinalizeSessionRequest { session_id: id.to_string() });
    Ok(Json(captions.slow_client().finalize_session(request).await?.into_inner().into()))
}

#[derive(Serialize, ToSchema)]
#[schema(as = CaptionsStopped)]
pub(crate) struct Stopped {
    stopped: bool,
}

/// Transcribe the audio that has arrived, and end the session. Its transcript is kept.
#[utoipa::path(delete, path = "/api/captions/sessions/{id}", tag = "captions",
    params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = Stopped), (status = 404, body = ProblemBody), (status = 504, body = ProblemBody)))]
pub(crate) async fn stop_caption_session(
    State(captions): State<Captions>,
    SignedIn(caller): SignedIn,
    Id(id): Id<CaptionsSessionId>,
) -> Answer<Json<Stopped>> {
    let request = caller.token.request(pb::StopSessionRequest { session_id: id.to_string() });
    captions.slow_client().stop_session(request).await?;
    Ok(Json(Stopped { stopped: true }))
}
