//! The generated trait: parse, call, convert.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use turnpike_fault::{Fault, Kind};
use turnpike_identity::caller;
use turnpike_kit::OnExit;
use turnpike_proto::captions::v1::{self as pb, caption_service_server::CaptionService};
use turnpike_topic::CaptionsSessionId;

use crate::{
    audio::{Encoding, Format},
    chat::Chat,
    convert, recording,
    search::{Query, search},
    self_test,
    session::{Lease, NewSession, Registry, Session, SessionError, Store, is_language},
    transcribing,
};

/// Finals in a snapshot.
const SHOWN: usize = 20;
/// How long a caller waits for its finals.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest query of a search, in characters.
const MAX_QUERY: usize = 200;
/// The longest text of a correction, in bytes.
const MAX_TEXT: usize = 4096;
/// Recordings that are transcribed at the same time, so that live sessions keep a core.
static RECORDINGS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(1));

pub(crate) struct Rpc {
    registry: Registry,
    chat: Chat,
}

impl Rpc {
    pub(crate) fn new(registry: Registry, chat: Chat) -> Self {
        Self { registry, chat }
    }

    fn session<T>(&self, request: &Request<T>, id: &str) -> Result<Arc<Session>, Fault> {
        let owner = caller(request)?;
        let id: Option<CaptionsSessionId> = id.parse().ok();
        let found = id.and_then(|id| self.registry.get(id, owner.claims.user_id));
        found.inspect(|session| session.called_by(owner)).ok_or_else(no_session)
    }

    async fn finals(&self, session: &Session) -> Result<Vec<pb::Final>, Fault> {
        let finals = self.registry.finals(session).await.map_err(|error| {
            tracing::error!(%error, session_id = %session.id(), "a transcript cannot be read");
            Fault::internal()
        })?;
        Ok(finals.into_iter().map(convert::kept).collect())
    }
}

fn no_session() -> Fault {
    Fault::new(Kind::NotFound, "There is no such caption session")
}

fn invalid(field: &str, message: impl Into<String>) -> Fault {
    Fault::new(Kind::Validation, "The request is not valid").field(field, message)
}

fn format(audio: Option<pb::Audio>) -> Result<Format, Fault> {
    let audio = audio.unwrap_or_default();
    let encoding = match pb::Encoding::try_from(audio.encoding) {
        Ok(pb::Encoding::Unspecified | pb::Encoding::PcmS16le) => Encoding::S16,
        Ok(pb::Encoding::PcmF32le) => Encoding::F32,
        Err(_) => return Err(invalid("audio.encoding", "must be pcm_s16le or pcm_f32le")),
    };
    Format::new(encoding, audio.sample_rate).map_err(|error| invalid("audio.sample_rate", error.to_string()))
}

fn page_limit(limit: u32) -> Result<usize, Fault> {
    match limit {
        0 => Ok(50),
        limit @ 1..=100 => Ok(limit as usize),
        _ => Err(invalid("limit", "must be from 1 to 100")),
    }
}

async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, Fault> {
    tokio::time::timeout(PATIENCE, work).await.map_err(|_| SessionError::Slow.into())
}

/// Waits until no other recording is transcribed.
async fn recording_turn() -> Result<SemaphorePermit<'static>, Fault> {
    let turn = tokio::time::timeout(PATIENCE, RECORDINGS.acquire()).await.ok().and_then(Result::ok);
    turn.ok_or_else(|| {
        Fault::new(Kind::Unavailable, "Another recording is being transcribed")
            .code_is("TOO_MANY_RECORDINGS")
            .retry_after(Duration::from_secs(5))
    })
}

#[tonic::async_trait]
impl CaptionService for Rpc {
    async fn open_session(
        &self,
        request: Request<pb::OpenSessionRequest>,
    ) -> Result<Response<pb::OpenSessionResponse>, Status> {
        let owner = caller(&request)?.clone();
        let request = request.into_inner();
        let format = format(request.audio)?;
        let room_id = match request.room_id.as_str() {
            "" => None,
            id => Some(id.parse().map_err(|_| invalid("room_id", "must be the id of a room"))?),
        };
        let pb::OpenSessionRequest { language, engine, idempotency_key, keep_audio, .. } = request;
        let pb::OpenSessionRequest { translate_to, translate_partials, .. } = request;
        if !translate_to.is_empty() && !is_language(&translate_to) {
            let message = "must be the name of a language or a BCP 47 tag, of at most 40 characters";
            return Err(invalid("translate_to", message).into());
        }
        if translate_partials && translate_to.is_empty() {
            return Err(invalid("translate_partials", "needs `translate_to`").into());
        }
        if let Some(room) = room_id {
            self.chat.require_member(&owner.token, room).await?;
        }
        let user = owner.claims.user_id;
        let new = NewSession {
            owner: user,
            language,
            engine,
            format,
            idempotency_key,
            keep_audio,
            translate_to,
            translate_partials,
            room_id,
        };
        let (session, replayed) = self.registry.open(new).await.map_err(Fault::from)?;
        session.called_by(&owner);
        Ok(Response::new(pb::OpenSessionResponse { session: Some(convert::session(&session)), replayed }))
    }

    async fn list_sessions(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Result<Response<pb::ListSessionsResponse>, Status> {
        let owner = caller(&request)?.claims.user_id;
        let request = request.into_inner();
        let limit = page_limit(request.limit)?;
        let before = match request.cursor.as_str() {
            "" => None,
            cursor => Some(cursor.parse().map_err(|_| invalid("cursor", "must be the cursor of an earlier page"))?),
        };
        let mut found = self.registry.list(owner, before, limit + 1);
        let more = found.len() > limit;
        found.truncate(limit);
        let next_cursor = found.last().filter(|_| more).map(|last| last.id().to_string()).unwrap_or_default();
        let sessions = found.iter().map(|session| convert::session(session)).collect();
        Ok(Response::new(pb::ListSessionsResponse { sessions, next_cursor }))
    }

    async fn get_snapshot(&self, request: Request<pb::GetSnapshotRequest>) -> Result<Response<pb::Snapshot>, Status> {
        let session = self.session(&request, &request.get_ref().session_id)?;
        let (number, described) = (session.next_snapshot(), convert::session(&session));
        let (finals, partial) = match session.is_alive() {
            true => {
                let (finals, partial) = session.shown(SHOWN);
                (finals.into_iter().map(convert::kept).collect(), partial.map(convert::partial))
            }
            false => {
                let mut finals = self.finals(&session).await?;
                (finals.split_off(finals.len().saturating_sub(SHOWN)), None)
            }
        };
        Ok(Response::new(pb::Snapshot { session: Some(described), finals, partial, number }))
    }

    async fn get_transcript(
        &self,
        request: Request<pb::GetTranscriptRequest>,
    ) -> Result<Response<pb::GetTranscriptResponse>, Status> {
        let session = self.session(&request, &request.get_ref().session_id)?;
        let finals = self.finals(&session).await?;
        Ok(Response::new(pb::GetTranscriptResponse { session: Some(convert::session(&session)), finals }))
    }

    async fn get_metrics(&self, request: Request<pb::GetMetricsRequest>) -> Result<Response<pb::Metrics>, Status> {
        let session = self.session(&request, &request.get_ref().session_id)?;
        let (measured, finals, lag_ms) = session.measured();
        let rates = measured.per_second(Instant::now());
        Ok(Response::new(convert::metrics(&measured, finals, lag_ms, rates)))
    }

    async fn pause_session(&self, request: Request<pb::PauseSessionRequest>) -> Result<Response<pb::Session>, Status> {
        let session = self.session(&request, &request.get_ref().session_id)?;
        session.pause().map_err(Fault::from)?;
        Ok(Response::new(convert::session(&session)))
    }

    async fn resume_session(
        &self,
        request: Request<pb::ResumeSessionRequest>,
    ) -> Result<Response<pb::Session>, Status> {
        let session = self.session(&request, &request.get_ref().session_id)?;
        session.resume().map_err(Fault::from)?;
        Ok(Response::new(convert::session(&session)))
    }

    async fn finalize_session(
        &self,
        request: Request<pb::FinalizeSessionRequest>,
    ) -> Result<Response<pb::Session>, Status> {
        let session = self.session(&request, &request.get_ref().session_id)?;
        let number = session.finalize_now().map_err(Fault::from)?;
        in_time(session.finalized(number)).await?;
        Ok(Response::new(convert::session(&session)))
    }

    async fn stop_session(&self, request: Request<pb::StopSessionRequest>) -> Result<Response<pb::Session>, Status> {
        let session = self.session(&request, &request.get_ref().session_id)?;
        // A session that has ended is what the caller wants.
        if session.stop("requested").is_ok() {
            in_time(session.ended_now()).await?;
        }
        Ok(Response::new(convert::session(&session)))
    }

    async fn correct_final(&self, request: Request<pb::CorrectFinalRequest>) -> Result<Response<pb::Final>, Status> {
        let session = self.session(&request, &request.get_ref().session_id)?;
        let pb::CorrectFinalRequest { segment, text, .. } = request.into_inner();
        if text.trim().is_empty() || text.len() > MAX_TEXT || text.contains(char::is_control) {
            let message = format!("must have 1 to {MAX_TEXT} bytes, without control characters");
            return Err(invalid("text", message).into());
        }
        let corrected = self.registry.correct(&session, segment, text).await.map_err(|error| {
            tracing::error!(%error, session_id = %session.id(), "a correction cannot be stored");
            Fault::internal()
        })?;
        let missing = || Fault::new(Kind::NotFound, "The session has no such final");
        Ok(Response::new(convert::kept(corrected.ok_or_else(missing)?)))
    }

    async fn search_transcripts(
        &self,
        request: Request<pb::SearchTranscriptsRequest>,
    ) -> Result<Response<pb::SearchTranscriptsResponse>, Status> {
        let owner = caller(&request)?.claims.user_id;
        let pb::SearchTranscriptsRequest { query, limit, cursor } = request.into_inner();
        if query.chars().count() > MAX_QUERY {
            return Err(invalid("query", format!("must be at most {MAX_QUERY} characters")).into());
        }
        let limit = page_limit(limit)?;
        let from = match cursor.as_str() {
            "" => None,
            cursor => Some(cursor.parse().map_err(|()| invalid("cursor", "must be the cursor of an earlier page"))?),
        };
        let Some(query) = Query::new(&query) else {
            return Ok(Response::new(pb::SearchTranscriptsResponse::default()));
        };
        let searching = search(&self.registry, owner, &query, from, limit);
        let (found, next) = in_time(searching).await?.map_err(|error| {
            tracing::error!(%error, "the transcripts cannot be searched");
            Fault::internal()
        })?;
        let results = found.into_iter().map(convert::found).collect();
        let next_cursor = next.map(|place| place.to_string()).unwrap_or_default();
        Ok(Response::new(pb::SearchTranscriptsResponse { results, next_cursor }))
    }

    type TranscribeStream = ReceiverStream<Result<pb::TranscribeResponse, Status>>;

    async fn transcribe(
        &self,
        request: Request<Streaming<pb::TranscribeRequest>>,
    ) -> Result<Response<Self::TranscribeStream>, Status> {
        let owner = caller(&request)?.clone();
        let (sender, receiver) = mpsc::channel(8);
        let (registry, clock) = (self.registry.clone(), self.registry.clock());
        let stopping = registry.tasks().stopping().clone();
        // The response begins at once, so that a client can wait for it before its first message.
        self.registry.tasks().spawn("captions stream", OnExit::Continue, async move {
            let mut input = request.into_inner();
            let started = transcribing::first(&mut input).await;
            let lease = started.and_then(|start| {
                let id: Option<CaptionsSessionId> = start.session_id.parse().ok();
                let session = id.and_then(|id| registry.get(id, owner.claims.user_id)).ok_or_else(no_session)?;
                session.called_by(&owner);
                Lease::take(&session, start.sample, start.snapshot, clock.now()).map_err(Fault::from)
            });
            match lease {
                Ok(lease) => transcribing::run(lease, input, sender, clock, stopping).await,
                Err(fault) => drop(sender.send(Err(fault.into())).await),
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    type GetAudioStream = ReceiverStream<Result<pb::GetAudioResponse, Status>>;

    async fn get_audio(&self, request: Request<pb::GetAudioRequest>) -> Result<Response<Self::GetAudioStream>, Status> {
        let session = self.session(&request, &request.get_ref().session_id)?;
        let failed = |error: std::io::Error| {
            tracing::error!(%error, "the audio of a caption session cannot be read");
            Fault::internal()
        };
        let audio = self.registry.audio(&session).await.map_err(failed)?;
        let missing = || Fault::new(Kind::NotFound, "The session keeps no audio").code_is("NO_AUDIO");
        let mut audio = audio.ok_or_else(missing)?;
        let (sender, receiver) = mpsc::channel(2);
        self.registry.tasks().spawn("captions audio", OnExit::Continue, async move {
            loop {
                let message = match Store::read_piece(audio).await {
                    Ok(None) => return,
                    Ok(Some((wav, rest))) => {
                        audio = rest;
                        Ok(pb::GetAudioResponse { wav: wav.into() })
                    }
                    Err(error) => {
                        let _ = sender.send(Err(failed(error).into())).await;
                        return;
                    }
                };
                // A caller that does not read is not waited for.
                if !matches!(tokio::time::timeout(PATIENCE, sender.send(message)).await, Ok(Ok(()))) {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn list_engines(
        &self,
        _request: Request<pb::ListEnginesRequest>,
    ) -> Result<Response<pb::ListEnginesResponse>, Status> {
        let engines = self.registry.engines().into_iter().map(|name| pb::Engine { name: name.to_owned() }).collect();
        Ok(Response::new(pb::ListEnginesResponse { engines }))
    }

    async fn self_test(&self, request: Request<pb::SelfTestRequest>) -> Result<Response<pb::SelfTestResponse>, Status> {
        caller(&request)?;
        let pb::SelfTestRequest { wav, engine } = request.into_inner();
        let (engine, _) = self.registry.engine(&engine, "").map_err(Fault::from)?;
        let audio = (!wav.is_empty()).then(|| recording::open(wav)).transpose()?;
        let permit = recording_turn().await?;
        let test = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            self_test::run(&engine, audio)
        });
        let tested = in_time(test).await?.map_err(|_| Fault::internal())?;
        tested.map(|tested| Response::new(convert::self_test(tested))).map_err(|error| {
            tracing::error!(%error, "the self-test of a speech engine failed");
            Fault::internal().into()
        })
    }

    type TranscribeFileStream = ReceiverStream<Result<pb::TranscribeFileResponse, Status>>;

    async fn transcribe_file(
        &self,
        request: Request<pb::TranscribeFileRequest>,
    ) -> Result<Response<Self::TranscribeFileStream>, Status> {
        use pb::transcribe_file_response::Part;
        caller(&request)?;
        let pb::TranscribeFileRequest { wav, language, engine } = request.into_inner();
        let (engine, language) = self.registry.engine(&engine, &language).map_err(Fault::from)?;
        let wav = recording::open(wav)?;
        let permit = recording_turn().await?;
        let (sender, receiver) = mpsc::channel(8);
        let part = |part| pb::TranscribeFileResponse { part: Some(part) };
        let begun = pb::Recording {
            duration_ms: wav.duration_ms(),
            language: language.clone(),
            engine: engine.name().to_owned(),
        };
        let _ = sender.try_send(Ok(part(Part::Recording(begun)))); // there is room
        let stopping = self.registry.tasks().stopping().clone();
        let failed = sender.clone();
        let work = move || {
            let _permit = permit;
            let hear = |kept| sender.blocking_send(Ok(part(Part::Final(convert::kept(kept))))).is_ok();
            let is_wanted = || !sender.is_closed() && !stopping.is_cancelled();
            let done = recording::transcribe(&engine, &language, wav, hear, is_wanted);
            if let Err(error) = done {
                tracing::error!(%error, "a recording could not be transcribed");
                let _ = sender.blocking_send(Err(Fault::internal().into()));
            } else if stopping.is_cancelled() {
                let _ = sender.try_send(Err(transcribing::stopped().into()));
            }
        };
        self.registry.tasks().spawn("captions recording", OnExit::Continue, async move {
            if tokio::task::spawn_blocking(work).await.is_err() {
                tracing::error!("a speech engine panicked while it transcribed a recording");
                let _ = failed.send(Err(Fault::internal().into())).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
