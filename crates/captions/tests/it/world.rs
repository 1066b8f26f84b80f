//! The surroundings of a service: a bus, a clock, a folder, and callers.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use secrecy::SecretBox;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use turnpike_bus::{Bus, Delivery, From, Limits};
use turnpike_captions::{
    Config, Deps, Service,
    engine::{
        Engine, Engines,
        moonshine::Moonshine,
        scripted::{Act, Scripted},
    },
};
use turnpike_event::{Body, CaptionsEvent, Event};
use turnpike_identity::{AccessToken, Verifier};
use turnpike_kit::{Clock, ClockControl, Environment, Process};
use turnpike_proto::captions::v1::{
    self as pb, caption_service_client::CaptionServiceClient, transcribe_request::Input,
};
use turnpike_rpc::Transport;
use turnpike_testkit::within;
use turnpike_token::{Claims, KeySet, Role, SigningKey};
use turnpike_topic::{SessionId, Topic, UserId};
use uuid::Uuid;

use crate::chat::Chat;

pub struct World {
    pub bus: Bus,
    pub clock: Clock,
    pub hand: ClockControl,
    key: SigningKey,
    pub folder: TempDir,
    pub chat: Chat,
    /// `None`: the service loads the model itself.
    engines: Option<Engines>,
    variables: Vec<(&'static str, String)>,
}

/// A running service.
pub struct Instance {
    process: Process,
    transport: Transport,
}

/// A user at a service.
#[derive(Clone)]
pub struct Caller {
    pub client: CaptionServiceClient<Transport>,
    pub token: AccessToken,
}

/// One stream of audio.
pub struct Stream {
    pub sender: mpsc::Sender<pb::TranscribeRequest>,
    pub responses: tonic::Streaming<pb::TranscribeResponse>,
}

impl World {
    /// With the real engine.
    pub fn real() -> Self {
        let engine = Moonshine::load(&turnpike_testkit::captions_model()).expect("the model can be loaded");
        Self::new(Arc::new(engine))
    }

    /// With an engine that does what the test wants.
    pub fn scripted(act: Act) -> Self {
        Self::new(Arc::new(Scripted { act }))
    }

    fn new(engine: Arc<dyn Engine>) -> Self {
        let (clock, hand) = Clock::controlled(Timestamp::from_second(1_763_700_000).expect("in range"));
        let key = SigningKey::from_secret(&SecretBox::new(Box::new([7; 32])));
        let folder = tempfile::tempdir().expect("a folder");
        let engines = Engines::default();
        engines.install(engine);
        let (chat, variables) = (Chat::default(), Vec::new());
        Self { bus: Bus::memory(Limits::default()), clock, hand, key, folder, chat, engines: Some(engines), variables }
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// Without a model. The service looks for it in the folder `model`, which does not exist.
    pub fn without_model(mut self) -> Self {
        self.engines = None;
        let folder = self.folder.path().join("model");
        self.with("TURNPIKE_CAPTIONS_MODEL", folder.to_str().expect("UTF-8"))
    }

    pub async fn start(&self) -> Instance {
        let folder = self.folder.path().to_str().expect("UTF-8").to_owned();
        let variables = self.variables.iter().cloned().chain([("TURNPIKE_DATA_DIR", folder)]);
        let env = Environment::new(variables).expect("known names");
        let process = Process::new(env.clone(), self.clock.clone()).expect("a process");
        let verifier = Verifier::local(KeySet::new([self.key.public()]));
        let deps = Deps { bus: self.bus.clone(), verifier, chat: self.chat.transport(), engines: self.engines.clone() };
        let config = Config::new(&env).expect("a configuration");
        let service = Service::bind(config, &process, deps).await.expect("a service");
        Instance { process, transport: Transport::direct(service.routes()).deadline(Duration::from_secs(60)) }
    }

    /// A new user.
    pub fn caller(&self, instance: &Instance) -> Caller {
        let token = self.signed(UserId::from(Uuid::now_v7()), Duration::from_secs(86_400));
        Caller { client: CaptionServiceClient::new(instance.transport.clone()), token }
    }

    /// Another token of a user, which is valid for this long.
    pub fn token(&self, of: &Caller, valid: Duration) -> AccessToken {
        let keys = KeySet::new([self.key.public()]);
        let claims = keys.verify(of.token.expose(), self.clock.now()).expect("a token");
        self.signed(claims.user_id, valid)
    }

    fn signed(&self, user_id: UserId, valid: Duration) -> AccessToken {
        let now = self.clock.now();
        let claims = Claims {
            user_id,
            session_id: SessionId::from(Uuid::now_v7()),
            token_id: Uuid::now_v7(),
            username: "ada".into(),
            role: Role::User,
            issued_at: now,
            expires_at: now + valid,
            auth_time: now,
            api_key: None,
        };
        AccessToken::new(self.key.sign(&claims))
    }

    /// The events of a session until one that is wanted, with it.
    pub async fn events_until(&self, id: &str, wanted: impl Fn(&CaptionsEvent) -> bool) -> Vec<CaptionsEvent> {
        let topic = Topic::Captions(id.parse().expect("an id"));
        let mut follower = self.bus.follow(topic, From::Start);
        let mut events = Vec::new();
        within("the captions", 60, async {
            loop {
                let Delivery::Record(record) = follower.next().await else { continue };
                let Body::Captions(event) = Event::from_bytes(record.event).body else { panic!("another event") };
                let found = wanted(&event);
                events.push(event);
                if found {
                    return;
                }
            }
        })
        .await;
        events
    }

    /// The events of a session that has ended.
    pub async fn events(&self, id: &str) -> Vec<CaptionsEvent> {
        self.events_until(id, |event| matches!(event, CaptionsEvent::Status { state, .. } if state.is_end())).await
    }
}

impl Instance {
    /// Stops the process as SIGTERM does.
    pub async fn stop(self) {
        assert!(self.process.stop(Duration::from_secs(60)).await, "every task ends by itself");
    }

    pub fn tasks(&self) -> usize {
        self.process.tasks.len()
    }
}

impl Caller {
    pub fn request<T>(&self, message: T) -> tonic::Request<T> {
        self.token.request(message)
    }

    pub async fn open(&self) -> String {
        self.try_open(pb::OpenSessionRequest::default()).await.expect("a session").session_id
    }

    pub async fn try_open(&self, request: pb::OpenSessionRequest) -> Result<pb::Session, Status> {
        let answer = self.client.clone().open_session(self.request(request)).await?;
        Ok(answer.into_inner().session.expect("a session"))
    }

    /// The names of the engines.
    pub async fn engines(&self) -> Vec<String> {
        let request = self.request(pb::ListEnginesRequest {});
        let engines = self.client.clone().list_engines(request).await.expect("a list").into_inner().engines;
        engines.into_iter().map(|engine| engine.name).collect()
    }

    pub async fn snapshot(&self, id: &str) -> Result<pb::Snapshot, Status> {
        let request = self.request(pb::GetSnapshotRequest { session_id: id.to_owned() });
        Ok(self.client.clone().get_snapshot(request).await?.into_inner())
    }

    pub async fn stop(&self, id: &str) -> Result<pb::Session, Status> {
        let request = self.request(pb::StopSessionRequest { session_id: id.to_owned() });
        Ok(self.client.clone().stop_session(request).await?.into_inner())
    }

    pub async fn finals(&self, id: &str) -> Vec<pb::Final> {
        let request = self.request(pb::GetTranscriptRequest { session_id: id.to_owned() });
        self.client.clone().get_transcript(request).await.expect("a transcript").into_inner().finals
    }

    /// A stream of audio from this sample; returns it with its first acknowledgement.
    pub async fn stream(&self, id: &str, sample: Option<u64>) -> Result<(Stream, pb::TranscribeResponse), Status> {
        self.start(pb::Start { session_id: id.to_owned(), sample, snapshot: None }).await
    }

    pub async fn start(&self, start: pb::Start) -> Result<(Stream, pb::TranscribeResponse), Status> {
        let (sender, receiver) = mpsc::channel(8);
        sender.send(pb::TranscribeRequest { input: Some(Input::Start(start)) }).await.expect("sent");
        let request = self.request(ReceiverStream::new(receiver));
        let mut responses = self.client.clone().transcribe(request).await?.into_inner();
        let first = responses.message().await?.expect("an acknowledgement");
        Ok((Stream { sender, responses }, first))
    }

    /// Sends all of the audio in pieces, and ends the stream.
    pub async fn send(&self, id: &str, pcm: &[u8]) {
        let (mut stream, _) = self.stream(id, None).await.expect("a stream");
        for piece in pcm.chunks(3_200) {
            stream.audio(piece).await;
        }
        stream.close().await;
    }
}

impl Stream {
    pub async fn audio(&mut self, bytes: &[u8]) {
        let input = Some(Input::Audio(bytes.to_vec().into()));
        self.sender.send(pb::TranscribeRequest { input }).await.expect("the stream is open");
    }

    /// Ends the stream and waits until everything has arrived. Returns the last acknowledgement.
    pub async fn close(mut self) -> pb::TranscribeResponse {
        drop(self.sender);
        let mut last = pb::TranscribeResponse::default();
        while let Some(response) = self.responses.message().await.expect("the stream ends well") {
            last = response;
        }
        last
    }
}
