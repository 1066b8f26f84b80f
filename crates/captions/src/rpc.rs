//! The generated trait: parse, call, convert.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use turnpike_fault::{Fault, Kind};
use turnpike_identity::caller;
use turnpike_kit::OnExit;
use turnpike_proto::captions::v1::{self as pb, caption_service_server::CaptionService};
use turnpike_topic::CaptionsSessionId;

use crate::{
    audio::{Encoding, Format},
    convert, recording,
    session::{Lease, NewSession, Registry, Session, SessionError},
    transcribing,
};

/// Finals in a snapshot.
const SHOWN: usize = 20;
/// How long a caller waits for its finals.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest text of a correction, in bytes.
const MAX_TEXT: usize = 4096;
/// Recordings that are transcribed at the same time, so that live sessions keep a core.
static RECORDINGS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(1));

pub(crate) struct Rpc {
    registry: Registry,
}

impl Rpc {
    pub(crate) fn new(registry: Registry) -> Self {
        Self { registry }
    }

    fn session<T>(&self, request: &Request<T>, id: &str) -> Result<Arc<Session>, Fault> {
        let owner = caller(request)?.claims.user_id;
        let id: Option<CaptionsSessionId> = id.parse().ok();
        let found = id.and_then(|id| self.registry.get(id, owner));
        found.ok_or_else(|| Fault::new(Kind::NotFound, "There is no such caption session"))
    }

    async fn finals(&self, session: &Session) -> Result<Vec<pb::Final>, Fault> {
        let finals = self.registry.finals(session).await.map_err(|error| {
            tracing::error!(%error, session_id = %session.id(), "a transcript cannot be read");
            Fault::internal()
        })?;
        Ok(finals.into_iter().map(convert::kept).collect())
    }
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

async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, Fault> {
    tokio::time::timeout(PATIENCE, work).await.map_err(|_| SessionError::Slow.into())
}

#[tonic::async_trait]
impl CaptionService for Rpc {
    async fn open_session(
        &self,
        request: Request<pb::OpenSessionRequest>,
    ) -> Result<Response<pb::OpenSessionResponse>, Status> {
        let owner = caller(&request)?.claims.user_id;
        let request = request.into_inner();
        let format = format(request.audio)?;
        let pb::OpenSessionRequest { language, engine, idempotency_key, .. } = request;
        let new = NewSession { owner, language, engine, format, idempotency_key };
        let (session, replayed) = self.registry.open(new).await.map_err(Fault::from)?;
        Ok(Response::new(pb::OpenSessionResponse { session: Some(convert::session(&session)), replayed }))
    }

    async fn list_sessions(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Result<Response<pb::ListSessionsResponse>, Status> {
        let owner = caller(&request)?.claims.user_id;
        let request = request.into_inner();
        let limit = match request.limit {
            0 => 50,
            limit @ 1..=100 => limit as usize,
            _ => return Err(invalid("limit", "must be from 1 to 100").into()),
        };
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

    type TranscribeStream = ReceiverStream<Result<pb::TranscribeResponse, Status>>;

    async fn transcribe(
        &self,
        request: Request<Streaming<pb::TranscribeRequest>>,
    ) -> Result<Response<Self::TranscribeStream>, Status> {
        let owner = caller(&request)?.claims.user_id;
        let (sender, receiver) = mpsc::channel(8);
        let (registry, clock) = (self.registry.clone(), self.registry.clock());
        let stopping = registry.tasks().stopping().clone();
        // The response begins at once, so that a client can wait for it before its first message.
        self.registry.tasks().spawn("captions stream", OnExit::Continue, async move {
            let mut input = request.into_inner();
            let started = transcribing::first(&mut input).await;
            let lease = started.and_then(|start| {
                let id: Option<CaptionsSessionId> = start.session_id.parse().ok();
                let session = id.and_then(|id| registry.get(id, owner));
                let session = session.ok_or_else(|| Fault::new(Kind::NotFound, "There is no such caption session"))?;
                Lease::take(&session, start.sample, start.snapshot, clock.now()).map_err(Fault::from)
            });
            match lease {
                Ok(lease) => transcribing::run(lease, input, sender, clock, stopping).await,
                Err(fault) => drop(sender.send(Err(fault.into())).await),
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn transcribe_file(
        &self,
        request: Request<pb::TranscribeFileRequest>,
    ) -> Result<Response<pb::TranscribeFileResponse>, Status> {
        caller(&request)?;
        let pb::TranscribeFileRequest { wav, language, engine } = request.into_inner();
        let (engine, language) = self.registry.engine(&engine, &language).map_err(Fault::from)?;
        let busy = || {
            Fault::new(Kind::Unavailable, "Another recording is being transcribed")
                .code_is("TOO_MANY_RECORDINGS")
                .retry_after(Duration::from_secs(5))
        };
        let permit = tokio::time::timeout(PATIENCE, RECORDINGS.acquire()).await.map_err(|_| busy())?;
        let permit = permit.map_err(|_| busy())?;
        // Dropped with this future, when the caller leaves: the thread then ends at its next look.
        let (wanted, watcher) = tokio::sync::watch::channel(());
        let work = move || {
            let result = recording::transcribe(&engine, &wav, || watcher.has_changed().is_ok());
            drop(permit);
            result
        };
        let result = tokio::task::spawn_blocking(work).await.map_err(|_| Fault::internal())?;
        drop(wanted);
        let (finals, duration_ms) = result?;
        let finals = finals.into_iter().map(convert::kept).collect();
        Ok(Response::new(pb::TranscribeFileResponse { finals, duration_ms, language }))
    }
}
