//! The caption session of a socket: its stream of audio and its captions.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream::poll_fn;
use tokio::sync::{Notify, mpsc};
use tonic::{Status, Streaming};
use turnpike_fault::{Fault, Kind};
use turnpike_identity::Caller;
use turnpike_proto::captions::v1::{self as pb, transcribe_request::Input};
use turnpike_topic::{CaptionsSessionId, Topic};

use crate::{
    app::Captions,
    stream::{
        hub::members::Wake,
        reader::{self, Reader},
        since::Since,
        topics::Topics,
    },
};

/// Messages of audio that wait for the captions service. A client that is faster is not read.
const WAITING: usize = 16;
/// How long audio that was sent before the client left may take to arrive.
const LEAVING: Duration = Duration::from_secs(10);

pub(super) struct Session {
    audio: mpsc::Sender<pb::TranscribeRequest>,
    responses: Streaming<pb::TranscribeResponse>,
    pub(super) reader: Reader,
    /// Notified when the reader has something.
    pub(super) wake: Arc<Notify>,
}

impl Session {
    /// Opens a session, and follows it before its audio begins.
    pub(super) async fn open(
        captions: &Captions,
        topics: &Topics,
        caller: &Caller,
        request: pb::OpenSessionRequest,
    ) -> Result<(Self, pb::Session), Fault> {
        let opened = captions.client().open_session(caller.token.request(request)).await?.into_inner();
        let session = opened.session.ok_or_else(Fault::internal)?;
        let id: CaptionsSessionId = session.session_id.parse().map_err(|_| Fault::internal())?;
        let wake = Arc::new(Notify::new());
        let reader = reader::open(topics, caller, Topic::Captions(id), Since::Start, &Wake::Task(wake.clone())).await?;
        let (audio, mut requests) = mpsc::channel(WAITING);
        let start = pb::Start { session_id: session.session_id.clone(), sample: None, snapshot: None };
        let _ = audio.send(pb::TranscribeRequest { input: Some(Input::Start(start)) }).await; // there is room
        let stream = caller.token.request(poll_fn(move |context| requests.poll_recv(context)));
        let responses = captions.client().transcribe(stream).await?.into_inner();
        Ok((Self { audio, responses, reader, wake }, session))
    }

    /// Passes audio on. Waits while too much of it waits. Audio after the end of the session is dropped.
    pub(super) async fn send(&self, audio: Bytes) {
        let _ = self.audio.send(pb::TranscribeRequest { input: Some(Input::Audio(audio)) }).await;
    }

    /// Passes a request on, which applies after the audio before it.
    pub(super) async fn control(&self, control: pb::transcribe_request::Control) {
        let _ = self.audio.send(pb::TranscribeRequest { input: Some(Input::Control(control.into())) }).await;
    }

    /// Waits for the end of the stream of audio, or for its failure. Cancel-safe.
    pub(super) async fn audio_ended(&mut self) -> Result<(), Fault> {
        loop {
            match self.responses.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(status) => return Err(lost(status)),
            }
        }
    }

    /// Ends the session of a client that has left. What the client has sent still arrives.
    pub(super) async fn leave(mut self) {
        self.control(pb::transcribe_request::Control::Stop).await;
        let (audio, _) = mpsc::channel(1);
        self.audio = audio;
        let _ = tokio::time::timeout(LEAVING, self.audio_ended()).await;
    }
}

/// A stream whose service was killed breaks without a status of the service.
fn lost(status: Status) -> Fault {
    match status.code() {
        tonic::Code::Unknown | tonic::Code::Cancelled => Fault::new(Kind::Unavailable, "The captions service is gone"),
        _ => status.into(),
    }
}
