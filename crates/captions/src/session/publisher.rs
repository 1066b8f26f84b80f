//! The task of a session: stores and publishes what was heard, in order, and ends the session when no audio arrives.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tracing::{error, info, warn};
use turnpike_bus::{Bus, PublishError, UNTIL_DROPPED};
use turnpike_event::{Body, CaptionsEvent, CaptionsState, Event};
use turnpike_kit::{Clock, Retry};

use super::{
    slot::{Heard, Slot},
    state::{Partial, Session},
    store::{Kept, Line, Store},
};
use crate::speech::Output;

/// How long the end of a session waits for translations. Those that take longer are in the transcript only.
const TRANSLATIONS: Duration = Duration::from_secs(3);

/// What the task needs.
#[derive(Clone)]
pub(super) struct Publisher {
    pub(super) bus: Bus,
    pub(super) clock: Clock,
    pub(super) store: Store,
    /// A session without audio for this long ends.
    pub(super) idle: Duration,
}

/// How the task of a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The session has ended, too.
    Session,
    /// The process stops; the session continues after its restart.
    Process,
}

impl Publisher {
    pub(super) async fn run(
        self,
        session: Arc<Session>,
        slot: Arc<Slot>,
        stopping: tokio_util::sync::CancellationToken,
    ) -> Ended {
        // The live segment is ended when the process stops, so that no speech is lost.
        let mut last_finalize = None;
        loop {
            while let Some(heard) = slot.take() {
                if self.publish(&session, heard).await {
                    session.let_go();
                    session.changed.notify_waiters();
                    return Ended::Session;
                }
            }
            if let Some(number) = last_finalize
                && session.live.lock().finalized >= number
            {
                return Ended::Process;
            }
            let idle_at = session.live.lock().last_audio + self.idle;
            tokio::select! {
                () = slot.published.notified() => {}
                () = self.clock.sleep_until(idle_at) => {
                    if self.clock.now() >= session.live.lock().last_audio + self.idle {
                        info!(session_id = %session.id(), "no audio arrives; the session ends");
                        let _ = session.stop("idle");
                        slot.published.notified().await;
                    }
                }
                () = stopping.cancelled(), if last_finalize.is_none() => {
                    last_finalize = session.finalize_now().ok();
                    if last_finalize.is_none() {
                        return Ended::Process;
                    }
                }
            }
        }
    }

    /// Returns whether the session has ended.
    async fn publish(&self, session: &Session, heard: Heard) -> bool {
        let (session_id, now) = (session.id(), Instant::now());
        match heard {
            Heard::Caption { output: Output::Partial { segment, committed, tentative, span, .. }, arrived } => {
                let event = CaptionsEvent::Partial {
                    session_id,
                    segment,
                    committed: committed.clone(),
                    tentative: tentative.clone(),
                    span,
                };
                // A partial is worth nothing later.
                if let Err(error) = self.bus.publish(&session.topic(), &self.event(event).to_bytes()).await {
                    warn!(%error, %session_id, "a partial caption was not published");
                    return false;
                }
                let mut live = session.live.lock();
                live.measured.partial(segment, arrived, Instant::now());
                let partial = Partial { segment, committed, tentative, span };
                session.pass_on_partial(&partial);
                live.partial = Some(partial);
            }
            Heard::Caption { output: Output::Final { caption, reason, settled, .. }, arrived } => {
                let stored = session.format.received_samples(settled);
                let kept = Kept::new(&caption, reason, stored);
                // Stored first: after a crash, a final that is stored and not published is published.
                self.append(session, &Line::Final(kept.clone())).await;
                self.append_event(session, CaptionsEvent::Final { session_id, caption, reason }, false).await;
                let mut live = session.live.lock();
                live.measured.last(reason, arrived, Instant::now());
                (live.partial, live.stored) = (None, stored);
                live.finals.push(kept.clone());
                live.final_count += 1;
                drop(live);
                session.pass_on(&kept);
            }
            Heard::Finalized(asked) => {
                let mut live = session.live.lock();
                live.finalized += 1;
                live.measured.finalize.add(now - asked);
                drop(live);
                session.changed.notify_waiters();
            }
            Heard::Report { level, lag_ms, real_time_factor } => {
                let (partial_count, final_count) = {
                    let mut live = session.live.lock();
                    (live.measured.level, live.measured.real_time_factor) = (level, real_time_factor);
                    (live.measured.partial_count, live.final_count)
                };
                let event =
                    CaptionsEvent::Metrics { session_id, partial_count, final_count, lag_ms, real_time_factor, level };
                if let Err(error) = self.bus.publish(&session.topic(), &self.event(event).to_bytes()).await {
                    warn!(%error, %session_id, "metrics were not published");
                }
            }
            Heard::State(state, reason) => {
                let event = self.status(session, state, reason);
                self.append_event(session, event, false).await;
            }
            Heard::Drained => {
                let reason = session.live.lock().reason.clone();
                self.end(session, CaptionsState::Stopped, &reason).await;
                return true;
            }
            Heard::Failed(reason) => {
                self.end(session, CaptionsState::Failed, reason).await;
                return true;
            }
        }
        false
    }

    async fn end(&self, session: &Session, state: CaptionsState, reason: &str) {
        // The topic then closes, also to translations.
        if let Some(queue) = &session.translation {
            let _ = tokio::time::timeout(TRANSLATIONS, queue.settled()).await;
        }
        let at = self.clock.now();
        metrics::counter!("turnpike_captions_sessions_ended_total", "state" => state.as_str()).increment(1);
        info!(session_id = %session.id(), %state, reason, "the caption session has ended");
        let samples = {
            let mut live = session.live.lock();
            if state == CaptionsState::Stopped {
                live.stored = live.samples;
            }
            live.samples
        };
        let line = Line::Ended { state: state.as_str().to_owned(), reason: reason.to_owned(), at, samples };
        self.append(session, &line).await;
        let event = self.status(session, state, reason);
        self.append_event(session, event, true).await;
        let mut live = session.live.lock();
        (live.state, live.reason, live.ended_at, live.partial) = (state, reason.to_owned(), Some(at), None);
        live.finals = Vec::new(); // its file has them
        drop(live);
        session.nothing_follows();
    }

    pub(super) fn status(&self, session: &Session, state: CaptionsState, reason: &str) -> CaptionsEvent {
        let live = session.live.lock();
        let (samples, stored_samples) = (live.samples, live.stored.min(live.samples));
        CaptionsEvent::Status { session_id: session.id(), state, reason: reason.to_owned(), samples, stored_samples }
    }

    fn event(&self, event: CaptionsEvent) -> Event {
        Event { at: self.clock.now(), body: Body::Captions(event) }
    }

    /// Publishes an event that must not be lost: waits for the bus as long as the process runs.
    pub(super) async fn append_event(&self, session: &Session, event: CaptionsEvent, is_final: bool) {
        let (bytes, topic) = (self.event(event).to_bytes(), session.topic());
        let mut retry = Retry::default();
        loop {
            let published = match is_final {
                true => self.bus.close_within(UNTIL_DROPPED, &topic, &bytes).await,
                false => self.bus.publish_within(UNTIL_DROPPED, &topic, &bytes).await,
            };
            match published {
                Ok(_) => return,
                Err(PublishError::Closed { .. } | PublishError::TooLarge { .. }) => {
                    return error!(%topic, "the topic does not take an event of its session");
                }
                Err(error) => retry.pause(&self.clock, "captions cannot be published yet", error).await,
            }
        }
    }

    /// Publishes an event that is left out once the topic is closed.
    pub(super) async fn append_while_open(&self, session: &Session, event: CaptionsEvent) {
        let (bytes, topic) = (self.event(event).to_bytes(), session.topic());
        let mut retry = Retry::default();
        loop {
            match self.bus.publish_within(UNTIL_DROPPED, &topic, &bytes).await {
                Ok(_) | Err(PublishError::Closed { .. } | PublishError::TooLarge { .. }) => return,
                Err(error) => retry.pause(&self.clock, "translations cannot be published yet", error).await,
            }
        }
    }

    /// Publishes the state of a session that runs, with another reason.
    pub(super) async fn report(&self, session: &Session, reason: &str) {
        let state = session.live.lock().state;
        if !state.is_end() {
            let event = self.status(session, state, reason);
            self.append_while_open(session, event).await;
        }
    }

    pub(super) async fn append(&self, session: &Session, line: &Line) {
        if let Err(error) = self.store.append(session.id(), line).await {
            error!(%error, session_id = %session.id(), "the transcript cannot be written; its captions are only on the topic");
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
