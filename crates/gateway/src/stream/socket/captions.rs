//! `GET /ws/captions/{session_id}`: audio in binary frames from the client, and the captions of the session. The socket is closed
//! with 1000 after the final event. A socket that sends no audio only follows.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, State, rejection::PathRejection},
    response::Response,
};
use futures_util::stream::poll_fn;
use http::HeaderMap;
use tokio::sync::mpsc;
use turnpike_fault::{Fault, Kind};
use turnpike_identity::AccessToken;
use turnpike_kit::{OnExit, Tasks};
use turnpike_proto::captions::v1 as pb;
use turnpike_rpc::Context;
use turnpike_token::{Claims, Scope};
use turnpike_topic::{CaptionsSessionId, Topic};

use super::{
    context::SocketContext,
    handshake::{Opening, accept, caller, is_status, refuse},
    invalid::Invalid,
    protocol::{Audio, Protocol, Start},
    request::{Control, Parsed, Request, control},
    response::EndsWithTopic,
    upgrade::Upgrade,
};
use crate::{
    access::scope::ApiKeys,
    app::Captions,
    http::{extract::Query, problem::Problem},
    stream::{
        conn::{Conn, TopicFrames},
        connections::Handle,
        control_frames,
        ending::Close,
        since::Since,
    },
};

/// Frames of audio that wait for the captions service. A client that is faster is not read.
const WAITING: usize = 16;
/// How long audio that was sent before the client left may take to arrive.
const LEAVING: Duration = Duration::from_secs(10);

/// The connection is upgraded before it is refused, as for the events of a command.
pub(crate) async fn open(
    State(context): State<SocketContext>,
    State(captions): State<Captions>,
    session_id: Result<Path<CaptionsSessionId>, PathRejection>,
    Query(opening): Query<Opening>,
    headers: HeaderMap,
    upgrade: Result<Upgrade, Problem>,
) -> Result<Response, Problem> {
    let upgrade = upgrade?;
    let caller = match caller(&context, ApiKeys::Of(Scope::Captions), &opening, &headers).await {
        Ok(caller) => caller,
        Err(fault) if is_status(&fault) => return Err(fault.into()),
        Err(fault) => return Ok(refuse(&context, upgrade, Close::refused(&fault))),
    };
    let Ok(Path(id)) = session_id else {
        return Ok(refuse(&context, upgrade, Close::Refused("Not found")));
    };
    let Ok(since) = opening.since.as_deref().map_or(Ok(Since::Start), str::parse) else {
        return Ok(refuse(&context, upgrade, Close::Refused("since is not an offset")));
    };
    let reads_only = crate::access::scope::admit(&caller.claims, Some(ApiKeys::Of(Scope::Captions)), false).is_err();
    let (token, tasks) = (caller.token.clone(), context.tasks.clone());
    let protocol = CaptionSession { id, since, captions, token, tasks, reads_only };
    Ok(accept(context, upgrade, &caller, Box::new(protocol)))
}

struct CaptionSession {
    id: CaptionsSessionId,
    since: Since,
    captions: Captions,
    token: AccessToken,
    tasks: Tasks,
    /// An API key with the scope `read` follows, and sends no audio.
    reads_only: bool,
}

impl Protocol for CaptionSession {
    fn start(&self, _: &Claims) -> Start {
        Start::Topic(Topic::Captions(self.id), self.since, None)
    }

    fn parse(&self, text: &str) -> Parsed {
        parse(text, self.reads_only)
    }

    fn audio(&self, conn: &Arc<Conn>, handle: &Arc<Handle>) -> Option<mpsc::Sender<Audio>> {
        if self.reads_only {
            return None;
        }
        let (sender, receiver) = mpsc::channel(WAITING);
        let stream = AudioStream {
            id: self.id.to_string(),
            captions: self.captions.clone(),
            token: self.token.clone(),
            conn: conn.clone(),
            handle: handle.clone(),
        };
        self.tasks.spawn("captions audio", OnExit::Continue, Context::current().scope(stream.run(receiver)));
        Some(sender)
    }

    fn topic_frames(&self) -> &'static dyn TopicFrames {
        &EndsWithTopic
    }
}

/// A client that only reads does not control the audio.
pub(super) fn parse(text: &str, reads_only: bool) -> Parsed {
    let mut parsed = Parsed::new(text);
    if let Some(control) = control(text).filter(|_| !reads_only) {
        parsed.request = Ok(Request::Audio(control));
    } else if !matches!(parsed.request, Ok(Request::Authenticate { .. } | Request::Ping)) {
        let detail = "action is one of finalize, pause, resume, stop, auth, ping; audio is sent in binary frames";
        parsed.request = Err(Invalid { code: "UNKNOWN_MESSAGE_TYPE", detail: detail.to_owned(), details: None });
    }
    parsed
}

/// The way of audio from a socket to the captions service.
struct AudioStream {
    id: String,
    captions: Captions,
    token: AccessToken,
    conn: Arc<Conn>,
    /// Has the latest token of the caller.
    handle: Arc<Handle>,
}

impl AudioStream {
    async fn run(self, mut audio: mpsc::Receiver<Audio>) {
        // Where the audio is to continue. If the session is not the caller's, its topic has refused the socket.
        let request = self.token.request(pb::GetSnapshotRequest { session_id: self.id.clone() });
        let snapshot = match self.captions.client().get_snapshot(request).await {
            Ok(snapshot) => snapshot.into_inner(),
            Err(status) => return self.fail(&Fault::from(status)),
        };
        let (number, snapshot) = (snapshot.number, snapshot.session.unwrap_or_default());
        self.acknowledge(snapshot.samples, snapshot.stored_samples);
        // The stream of another socket goes on until this one sends something.
        let Some(first) = audio.recv().await else { return };
        if let Err(fault) = self.forward(number, snapshot.samples, first, audio).await {
            self.fail(&fault);
        }
    }

    /// Passes audio on, from this sample of this snapshot, until the client or the session ends.
    async fn forward(
        &self,
        snapshot: u64,
        from: u64,
        first: Audio,
        mut audio: mpsc::Receiver<Audio>,
    ) -> Result<(), Fault> {
        use pb::transcribe_request::Input;
        let (sender, mut requests) = mpsc::channel(WAITING);
        let start = pb::Start { session_id: self.id.clone(), sample: Some(from), snapshot: Some(snapshot) };
        for input in [Input::Start(start), input(first)] {
            let _ = sender.send(pb::TranscribeRequest { input: Some(input) }).await;
        }
        let stream = self.token.request(poll_fn(move |context| requests.poll_recv(context)));
        let mut responses = self.captions.client().transcribe(stream).await?.into_inner();
        let sending = async move {
            while let Some(next) = audio.recv().await {
                if sender.send(pb::TranscribeRequest { input: Some(input(next)) }).await.is_err() {
                    return;
                }
            }
        };
        let receiving = async {
            let mut known = self.token.clone();
            while let Some(arrived) = responses.message().await.map_err(lost)? {
                self.acknowledge(arrived.samples, arrived.stored_samples);
                self.pass_token_on(&mut known).await;
            }
            Ok(())
        };
        tokio::pin!(receiving);
        tokio::select! {
            ended = &mut receiving => return ended,
            () = sending => {}
        }
        // The client has left. What it has sent still arrives.
        tokio::time::timeout(LEAVING, receiving).await.unwrap_or(Ok(()))
    }

    /// The captions service translates, and writes in rooms, with the caller's latest token. It learns a new one from any call.
    async fn pass_token_on(&self, known: &mut AccessToken) {
        let token = self.handle.caller().token;
        if token.expose() == known.expose() {
            return;
        }
        let request = token.request(pb::GetMetricsRequest { session_id: self.id.clone() });
        // After a failure, the next acknowledgement is another opportunity.
        if self.captions.client().get_metrics(request).await.is_ok() {
            *known = token;
        }
    }

    fn acknowledge(&self, samples: u64, stored_samples: u64) {
        self.conn.say(control_frames::audio_arrived(&self.id, samples, stored_samples));
    }

    fn fail(&self, fault: &Fault) {
        self.conn.say(control_frames::fault(None, None, fault));
        self.conn.end(Close::refused(fault));
    }
}

/// A stream whose service was killed breaks without a status of the service.
fn lost(status: tonic::Status) -> Fault {
    match status.code() {
        tonic::Code::Unknown | tonic::Code::Cancelled => {
            Fault::new(Kind::Unavailable, "The captions service is gone; connect again")
                .retry_after(Duration::from_secs(1))
        }
        _ => status.into(),
    }
}

fn input(audio: Audio) -> pb::transcribe_request::Input {
    use pb::transcribe_request::{Control as To, Input};
    match audio {
        Audio::Samples(bytes) => Input::Audio(bytes),
        Audio::Control(control) => Input::Control(
            match control {
                Control::Finalize => To::Finalize,
                Control::Pause => To::Pause,
                Control::Resume => To::Resume,
                Control::Stop => To::Stop,
            }
            .into(),
        ),
    }
}
