//! One session as its callers see it.

use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use turnpike_event::{CaptionsState, Span};
use turnpike_fault::{Fault, Kind};
use turnpike_identity::Caller;
use turnpike_topic::{CaptionsSessionId, Topic};

use super::{
    measures::Measured,
    slot::{Item, Slot},
    store::{Kept, Opened},
};
use crate::{
    audio::{Decoder, Encoding, Format},
    passing::{Credential, Passed, Queue},
};

/// A session.
pub(crate) struct Session {
    pub(crate) opened: Opened,
    pub(super) format: Format,
    /// `None`: it has ended.
    slot: Mutex<Option<Arc<Slot>>>,
    pub(super) live: Mutex<Live>,
    /// The number of the latest stream of audio.
    pub(super) streams: watch::Sender<u64>,
    /// Something in `live` changed.
    pub(super) changed: Notify,
    /// Finals that wait to be translated. `None`: they are not.
    pub(super) translation: Option<Queue>,
    /// Finals that wait to be published in a room. `None`: they are not.
    pub(super) room: Option<Queue>,
    pub(super) credential: Credential,
}

/// What changes.
pub(super) struct Live {
    pub(super) state: CaptionsState,
    pub(super) reason: String,
    /// Samples that have arrived, at the rate of the client.
    pub(super) samples: u64,
    /// Samples whose words are published.
    pub(super) stored: u64,
    /// Every final of a session that runs.
    pub(super) finals: Vec<Kept>,
    pub(super) final_count: u64,
    pub(super) partial: Option<Partial>,
    pub(super) measured: Measured,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) last_audio: Timestamp,
    pub(super) decoder: Decoder,
    /// The number of the latest snapshot, and of the one that the present stream of audio continues.
    pub(super) snapshots: u64,
    pub(super) continued: u64,
    /// Finalize requests that were carried out and published.
    pub(super) finalized: u64,
    pub(super) finalize_asked: u64,
}

/// The live segment.
#[derive(Clone, Debug)]
pub(crate) struct Partial {
    pub(crate) segment: u64,
    pub(crate) committed: String,
    pub(crate) tentative: String,
    pub(crate) span: Span,
}

/// A session at one moment.
pub(crate) struct Described {
    pub(crate) opened: Opened,
    pub(crate) format: Format,
    pub(crate) state: CaptionsState,
    pub(crate) reason: String,
    pub(crate) samples: u64,
    pub(crate) stored: u64,
    pub(crate) finals: u64,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) translation: Option<Passed>,
    pub(crate) room: Option<Passed>,
}

/// Why an operation on a session is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("the session has ended")]
    Ended,
    #[error("the session did not finish in time")]
    Slow,
}

impl From<SessionError> for Fault {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Ended => Self::new(Kind::Conflict, "The session has ended").code_is("SESSION_ENDED"),
            SessionError::Slow => Self::new(Kind::Timeout, "The audio that has arrived is not yet transcribed"),
        }
    }
}

impl Session {
    /// A session that runs, from the sample `stored` on.
    pub(super) fn running(
        opened: Opened,
        slot: Arc<Slot>,
        finals: Vec<Kept>,
        stored: u64,
        now: Timestamp,
    ) -> Arc<Self> {
        let session =
            Self::ended(opened, CaptionsState::Starting, String::new(), None, stored, finals.len() as u64, now);
        {
            let mut live = session.live.lock();
            live.stored = stored;
            live.finals = finals;
        }
        *session.slot.lock() = Some(slot);
        session
    }

    /// A session of which only the transcript is left.
    pub(super) fn ended(
        opened: Opened,
        state: CaptionsState,
        reason: String,
        ended_at: Option<Timestamp>,
        samples: u64,
        final_count: u64,
        now: Timestamp,
    ) -> Arc<Self> {
        let encoding = if opened.float { Encoding::F32 } else { Encoding::S16 };
        let format = Format { encoding, rate: opened.rate };
        let live = Live {
            state,
            reason,
            samples,
            stored: samples,
            finals: Vec::new(),
            final_count,
            partial: None,
            measured: Measured::default(),
            ended_at,
            last_audio: now,
            decoder: Decoder::new(format),
            snapshots: 0,
            continued: 0,
            finalized: 0,
            finalize_asked: 0,
        };
        Arc::new(Self {
            translation: (!opened.translate_to.is_empty()).then(Queue::default),
            room: opened.room_id.map(|_| Queue::default()),
            credential: Credential::default(),
            opened,
            format,
            slot: Mutex::default(),
            live: Mutex::new(live),
            streams: watch::Sender::new(0),
            changed: Notify::new(),
        })
    }

    pub(crate) fn id(&self) -> CaptionsSessionId {
        self.opened.session_id
    }

    pub(super) fn topic(&self) -> Topic {
        Topic::Captions(self.id())
    }

    /// The place of a session that runs.
    pub(super) fn slot(&self) -> Option<Arc<Slot>> {
        self.slot.lock().clone()
    }

    pub(super) fn let_go(&self) {
        *self.slot.lock() = None;
    }

    /// The owner has called. The token is used for what is passed on.
    pub(crate) fn called_by(&self, owner: &Caller) {
        if self.translation.is_some() || self.room.is_some() {
            self.credential.renew(owner);
        }
    }

    /// Passes a final on, that is new or has another text.
    pub(super) fn pass_on(&self, kept: &Kept) {
        if let Some(queue) = self.translation.as_ref().filter(|_| kept.translation.is_empty()) {
            queue.give(kept.segment, kept.text.clone());
        }
        if let Some(queue) = self.room.as_ref().filter(|_| !kept.posted && !kept.corrected) {
            queue.give(kept.segment, kept.text.clone());
        }
    }

    pub(super) fn pass_on_partial(&self, partial: &Partial) {
        if let Some(queue) = self.translation.as_ref().filter(|_| self.opened.translate_partials) {
            queue.give_partial(
                partial.segment,
                format!("{} {}", partial.committed, partial.tentative).trim().to_owned(),
            );
        }
    }

    /// No more finals follow.
    pub(super) fn nothing_follows(&self) {
        self.translation.iter().chain(&self.room).for_each(Queue::end);
    }

    /// Whether this is still the text of the segment.
    pub(super) fn is_current(&self, segment: u64, text: &str, is_final: bool) -> bool {
        let live = self.live.lock();
        match is_final {
            true => live.finals.iter().rfind(|kept| kept.segment == segment).is_none_or(|kept| kept.text == text),
            false => live.finals.last().is_none_or(|last| last.segment < segment) && !live.state.is_end(),
        }
    }

    pub(super) fn change_final(&self, segment: u64, change: impl FnOnce(&mut Kept)) {
        self.live.lock().finals.iter_mut().rfind(|kept| kept.segment == segment).map(change);
    }

    /// Whether the session has not ended.
    pub(crate) fn is_alive(&self) -> bool {
        self.slot.lock().is_some()
    }

    pub(crate) fn describe(&self) -> Described {
        let live = self.live.lock();
        Described {
            opened: self.opened.clone(),
            format: self.format,
            state: live.state,
            reason: live.reason.clone(),
            samples: live.samples,
            stored: live.stored.min(live.samples),
            finals: live.final_count,
            ended_at: live.ended_at,
            translation: self.translation.as_ref().map(Queue::passed),
            room: self.room.as_ref().map(Queue::passed),
        }
    }

    /// The number of a new snapshot, which a stream of audio may continue.
    pub(crate) fn next_snapshot(&self) -> u64 {
        let mut live = self.live.lock();
        live.snapshots += 1;
        live.snapshots
    }

    /// The live partial, and the last `count` finals if the session runs.
    pub(crate) fn shown(&self, count: usize) -> (Vec<Kept>, Option<Partial>) {
        let live = self.live.lock();
        (live.finals[live.finals.len().saturating_sub(count)..].to_vec(), live.partial.clone())
    }

    pub(crate) fn measured(&self) -> (Measured, u64, u64) {
        let live = self.live.lock();
        (live.measured.clone(), live.final_count, self.slot().map_or(0, |slot| slot.lag_ms()))
    }

    /// From now on audio is dropped.
    pub(crate) fn pause(&self) -> Result<(), SessionError> {
        self.finalize_now()?;
        self.announce(CaptionsState::Paused, "requested")
    }

    pub(crate) fn resume(&self) -> Result<(), SessionError> {
        self.announce(CaptionsState::Running, "requested")
    }

    /// Asks for the end of the live segment. Returns the number of the request.
    pub(crate) fn finalize_now(&self) -> Result<u64, SessionError> {
        let slot = self.slot().ok_or(SessionError::Ended)?;
        let mut live = self.live.lock();
        live.finalize_asked += 1;
        slot.give(Item::Finalize);
        Ok(live.finalize_asked)
    }

    /// Asks for the end of the session, when the audio that has arrived is transcribed.
    pub(crate) fn stop(&self, reason: &'static str) -> Result<(), SessionError> {
        let slot = self.slot().ok_or(SessionError::Ended)?;
        self.announce(CaptionsState::Draining, reason)?;
        slot.give(Item::Drain);
        Ok(())
    }

    /// Changes the state, which is then published. Nothing leads out of `draining`, and a state that is in force is not repeated.
    pub(super) fn announce(&self, state: CaptionsState, reason: &'static str) -> Result<(), SessionError> {
        let slot = self.slot().ok_or(SessionError::Ended)?;
        let mut live = self.live.lock();
        if live.state == CaptionsState::Draining && !state.is_end() || live.state.is_end() || live.state == state {
            return Ok(());
        }
        (live.state, live.reason) = (state, reason.to_owned());
        slot.give(Item::Say(state, reason)); // published in order with the captions
        drop(live);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Waits until the request with this number is carried out and its final is published.
    pub(crate) async fn finalized(&self, number: u64) {
        self.wait(|live| live.finalized >= number || live.state.is_end()).await;
    }

    /// Waits until the session has ended.
    pub(crate) async fn ended_now(&self) {
        self.wait(|live| live.ended_at.is_some()).await;
    }

    async fn wait(&self, done: impl Fn(&Live) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if done(&self.live.lock()) {
                return;
            }
            changed.await;
        }
    }
}
