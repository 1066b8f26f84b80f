//! Every session that runs or is kept, and the opening of new ones.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::Mutex;
use turnpike_bus::Bus;
use turnpike_event::CaptionsState;
use turnpike_fault::{Fault, Kind};
use turnpike_kit::{Clock, OnExit, Tasks};
use turnpike_topic::{CaptionsSessionId, RoomId, UserId};

use super::{
    audio_file::WavReader,
    pass,
    pool::Pool,
    publisher::{Ended, Publisher},
    slot::{Item, Slot},
    state::Session,
    store::{Kept, Line, Opened, Store},
    to_model::ToModel,
    to_room::ToRoom,
};
use crate::{
    audio::{Encoding, Format},
    chat::Chat,
    engine::{Engine, Engines},
    speech::Captioner,
};

/// What sessions use.
#[derive(Clone)]
pub(crate) struct Resources {
    pub(crate) engines: Engines,
    pub(crate) pool: Pool,
    pub(crate) bus: Bus,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    pub(crate) store: Store,
    pub(crate) chat: Chat,
    pub(crate) idle: Duration,
    /// Sessions that may run at the same time.
    pub(crate) most: usize,
}

/// A handle to the sessions.
#[derive(Clone)]
pub(crate) struct Registry {
    pub(super) resources: Resources,
    pub(super) sessions: Arc<Mutex<HashMap<CaptionsSessionId, Arc<Session>>>>,
}

/// What a caller asks for.
pub(crate) struct NewSession {
    pub(crate) owner: UserId,
    pub(crate) language: String,
    pub(crate) engine: String,
    pub(crate) format: Format,
    pub(crate) idempotency_key: String,
    pub(crate) keep_audio: bool,
    /// Empty: not translated.
    pub(crate) translate_to: String,
    pub(crate) translate_partials: bool,
    pub(crate) room_id: Option<RoomId>,
}

/// Why no session was opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("there is no speech engine")]
    NoEngine,
    #[error("there is no such engine")]
    UnknownEngine,
    #[error("the engine does not know the language")]
    UnknownLanguage,
    #[error("there are as many sessions as this instance can transcribe")]
    Full,
    #[error("the key was used for another request")]
    OtherRequest,
    #[error("the transcript cannot be stored")]
    Store(#[from] std::io::Error),
}

/// The command that fetches the model.
const FETCH: &str = "There is no speech model yet: run scripts/captions-model on the server, and try again";
/// Until a session may have ended.
const RETRY: Duration = Duration::from_secs(10);

impl From<OpenError> for Fault {
    fn from(error: OpenError) -> Self {
        let invalid = |field: &str, message: &str| {
            Self::new(Kind::Validation, "The request is not valid").field(field, message.to_owned())
        };
        match error {
            OpenError::NoEngine => Self::new(Kind::Unavailable, FETCH).code_is("ENGINE_UNAVAILABLE").retry_after(RETRY),
            OpenError::UnknownEngine => invalid("engine", "is not an engine of this service"),
            OpenError::UnknownLanguage => invalid("language", "is not a language of the engine"),
            OpenError::Full => Self::new(Kind::Unavailable, "There are as many caption sessions as can be transcribed")
                .code_is("TOO_MANY_SESSIONS")
                .retry_after(RETRY),
            OpenError::OtherRequest => Self::new(Kind::Conflict, "The idempotency key was used for another request")
                .code_is("IDEMPOTENCY_KEY_REUSED"),
            OpenError::Store(error) => {
                tracing::error!(%error, "a transcript cannot be stored");
                Self::internal()
            }
        }
    }
}

impl Registry {
    pub(crate) fn new(resources: Resources) -> Self {
        Self { resources, sessions: Arc::default() }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.resources.clock.clone()
    }

    pub(crate) fn tasks(&self) -> Tasks {
        self.resources.tasks.clone()
    }

    /// The engine for a request; an empty name is the default one, an empty language English.
    pub(crate) fn engine(&self, name: &str, language: &str) -> Result<(Arc<dyn Engine>, String), OpenError> {
        let engines = &self.resources.engines;
        let first = engines.find("").ok_or(OpenError::NoEngine)?;
        let engine = if name.is_empty() { first } else { engines.find(name).ok_or(OpenError::UnknownEngine)? };
        let language = if language.is_empty() { "en" } else { language };
        let is_tag = language.len() <= 35 && language.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let primary = language.split('-').next().unwrap_or_default().to_ascii_lowercase();
        match is_tag && engine.knows(&primary) {
            true => Ok((engine, language.to_owned())),
            false => Err(OpenError::UnknownLanguage),
        }
    }

    /// The names of the engines, the default one first.
    pub(crate) fn engines(&self) -> Vec<&'static str> {
        self.resources.engines.names()
    }

    /// Opens a session. The flag tells whether an earlier request with the same key has opened it.
    pub(crate) async fn open(&self, new: NewSession) -> Result<(Arc<Session>, bool), OpenError> {
        let (engine, language) = self.engine(&new.engine, &new.language)?;
        let now = self.resources.clock.now();
        let opened = Opened {
            session_id: CaptionsSessionId::new(now),
            owner: new.owner,
            at: now,
            language,
            engine: engine.name().to_owned(),
            float: new.format.encoding == Encoding::F32,
            rate: new.format.rate,
            keep_audio: new.keep_audio,
            translate_to: new.translate_to,
            translate_partials: new.translate_partials,
            room_id: new.room_id,
            idempotency_key: new.idempotency_key,
        };
        let session = {
            // One step, so that concurrent requests cannot exceed the limit, and twins open one session.
            let mut sessions = self.sessions.lock();
            if let Some(first) = sessions.values().find(|session| is_repetition(&opened, &session.opened)) {
                let same = |a: &Opened, b: &Opened| {
                    let passed = |opened: &Opened| (opened.translate_partials, opened.room_id);
                    let fields = |opened: &Opened| (opened.float, opened.rate, opened.keep_audio, passed(opened));
                    let texts = |opened: &'_ Opened| {
                        [&opened.language, &opened.engine, &opened.translate_to].map(String::clone)
                    };
                    (texts(a), fields(a)) == (texts(b), fields(b))
                };
                let same = same(&opened, &first.opened);
                return if same { Ok((first.clone(), true)) } else { Err(OpenError::OtherRequest) };
            }
            let running = sessions.values().filter(|session| session.is_alive()).count();
            if running >= self.resources.most || self.resources.pool.is_overloaded() {
                return Err(OpenError::Full);
            }
            let slot = Slot::new(self.resources.pool.clone(), Captioner::new(engine.open(&opened.language), 0, 0));
            let session = Session::running(opened.clone(), slot, Vec::new(), 0, now);
            sessions.insert(session.id(), session.clone());
            session
        };
        // Until the task of the session runs, the caller may leave, which drops this future.
        let opening = Opening { registry: self, session: Some(session.clone()) };
        self.resources.store.append(session.id(), &Line::Opened(opened.clone())).await?;
        let audio = self.resources.store.audio(&opened, 0).await?;
        if let (Some(slot), Some(audio)) = (session.slot(), audio) {
            slot.keep(audio);
        }
        opening.done();
        metrics::counter!("turnpike_captions_sessions_opened_total").increment(1);
        if let Some(slot) = session.slot() {
            slot.give(Item::Say(CaptionsState::Starting, ""));
        }
        self.supervise(session.clone());
        Ok((session, false))
    }

    /// A session of this owner.
    pub(crate) fn get(&self, id: CaptionsSessionId, owner: UserId) -> Option<Arc<Session>> {
        self.sessions.lock().get(&id).filter(|session| session.opened.owner == owner).cloned()
    }

    /// The owner's sessions, newest first, after the one with the id `before`.
    pub(crate) fn list(&self, owner: UserId, before: Option<CaptionsSessionId>, limit: usize) -> Vec<Arc<Session>> {
        let sessions = self.sessions.lock();
        let is_wanted = |session: &&Arc<Session>| {
            session.opened.owner == owner && before.is_none_or(|before| session.id() < before)
        };
        let mut found: Vec<_> = sessions.values().filter(is_wanted).cloned().collect();
        drop(sessions);
        found.sort_by_key(|session| std::cmp::Reverse(session.id()));
        found.truncate(limit);
        found
    }

    /// Every final of a session.
    pub(crate) async fn finals(&self, session: &Session) -> Result<Vec<Kept>, std::io::Error> {
        if session.is_alive() {
            return Ok(session.shown(usize::MAX).0);
        }
        let transcript = self.resources.store.read(session.id()).await?;
        Ok(transcript.map(|transcript| transcript.finals).unwrap_or_default())
    }

    /// Every final of a session as its file has it, and the bytes that were read.
    pub(crate) async fn stored(&self, session: &Session) -> std::io::Result<(Vec<Kept>, u64)> {
        let found = self.resources.store.read_sized(session.id()).await?;
        Ok(found.map(|(transcript, bytes)| (transcript.finals, bytes)).unwrap_or_default())
    }

    /// The audio of a session as a WAV file. `None`: the session keeps none.
    pub(crate) async fn audio(&self, session: &Session) -> std::io::Result<Option<WavReader>> {
        self.resources.store.read_audio(session.id()).await
    }

    /// Replaces the text of a final. `None`: there is no such final.
    pub(crate) async fn correct(
        &self,
        session: &Session,
        segment: u64,
        text: String,
    ) -> Result<Option<Kept>, std::io::Error> {
        let Some(mut kept) = self.finals(session).await?.into_iter().find(|kept| kept.segment == segment) else {
            return Ok(None);
        };
        self.resources.store.append(session.id(), &Line::Corrected { segment, text: text.clone() }).await?;
        kept.correct(&text);
        session.change_final(segment, |live| live.correct(&text));
        // The topic of a session that has ended is closed; its transcript has the correction.
        if session.is_alive() {
            session.pass_on(&kept);
            let event = turnpike_event::CaptionsEvent::Corrected { session_id: session.id(), segment, text };
            self.publisher().append_event(session, event, false).await;
        }
        Ok(Some(kept))
    }

    pub(super) fn publisher(&self) -> Publisher {
        let Resources { bus, clock, store, idle, .. } = self.resources.clone();
        Publisher { bus, clock, store, idle }
    }

    /// Starts the task of a session.
    pub(super) fn supervise(&self, session: Arc<Session>) {
        let Some(slot) = session.slot() else { return };
        let (publisher, tasks) = (self.publisher(), self.resources.tasks.clone());
        let stopping = tasks.stopping().clone();
        if session.translation.is_some() {
            let way = ToModel(self.resources.chat.clone());
            let work = pass::run(way, publisher.clone(), session.clone(), stopping.clone());
            tasks.spawn("captions translation", OnExit::Continue, work);
        }
        if session.room.is_some() {
            let way = ToRoom(self.resources.chat.clone());
            tasks.spawn(
                "captions room",
                OnExit::Continue,
                pass::run(way, publisher.clone(), session.clone(), stopping.clone()),
            );
        }
        metrics::gauge!("turnpike_captions_sessions").increment(1.0);
        tasks.spawn("captions", OnExit::Continue, async move {
            let _running = Running;
            if publisher.run(session.clone(), slot, stopping).await == Ended::Process {
                session.let_go();
                session.changed.notify_waiters();
            }
        });
    }
}

/// Removes a session that was not opened after all.
struct Opening<'a> {
    registry: &'a Registry,
    session: Option<Arc<Session>>,
}

impl Opening<'_> {
    fn done(mut self) {
        self.session = None;
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            session.let_go();
            self.registry.sessions.lock().remove(&session.id());
        }
    }
}

/// Counts a session that runs.
struct Running;

impl Drop for Running {
    fn drop(&mut self) {
        metrics::gauge!("turnpike_captions_sessions").decrement(1.0);
    }
}

fn is_repetition(new: &Opened, earlier: &Opened) -> bool {
    const KEPT: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);
    let age = |at: Timestamp| new.at.duration_since(at);
    !new.idempotency_key.is_empty()
        && new.owner == earlier.owner
        && new.idempotency_key == earlier.idempotency_key
        && age(earlier.at) < KEPT
}
