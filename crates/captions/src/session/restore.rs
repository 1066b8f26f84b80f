//! After a start: sessions that the end of the process has interrupted continue, once their clients send audio again.

use tracing::{info, warn};
use turnpike_bus::Bus;
use turnpike_event::{Body, CaptionsEvent, CaptionsState, Event};
use turnpike_topic::Topic;

use super::{
    registry::Registry,
    slot::Slot,
    state::Session,
    store::{Kept, Transcript},
};
use crate::{engine::RATE, speech::Captioner};

/// Why a session waits for audio again.
const INTERRUPTED: &str = "interrupted";

impl Registry {
    /// Loads what is kept.
    pub(crate) async fn restore(&self) -> std::io::Result<()> {
        for (id, _, _) in self.resources.store.list().await? {
            let Some(transcript) = self.resources.store.read(id).await? else { continue };
            let session = match &transcript.ended {
                Some(_) => kept(transcript),
                None => self.continued(transcript).await,
            };
            self.sessions.lock().insert(id, session);
        }
        Ok(())
    }

    async fn continued(&self, transcript: Transcript) -> std::sync::Arc<Session> {
        let Transcript { opened, finals, .. } = transcript;
        let now = self.resources.clock.now();
        let stored = finals.last().map_or(0, |kept| kept.stored);
        let engine = self.resources.engines.find(&opened.engine);
        let Some(engine) = engine else {
            warn!(session_id = %opened.session_id, engine = opened.engine, "an interrupted session has no engine any more");
            let reason = INTERRUPTED.to_owned();
            let count = finals.len() as u64;
            return Session::ended(opened, CaptionsState::Failed, reason, Some(now), stored, count, now);
        };
        // The rate of the client is in the first line of the file.
        let first = stored * u64::from(RATE) / u64::from(opened.rate.max(1));
        let captioner = Captioner::new(engine.open(&opened.language), first, finals.len() as u64);
        let slot = Slot::new(self.resources.pool.clone(), captioner);
        match self.resources.store.audio(&opened, first).await {
            Ok(audio) => audio.into_iter().for_each(|audio| slot.keep(audio)),
            Err(error) => warn!(%error, session_id = %opened.session_id, "the audio of a session is not kept any more"),
        }
        let session = Session::running(opened, slot, finals.clone(), stored, now);
        session.live.lock().reason = INTERRUPTED.to_owned();
        resume(&session, &finals, 0);
        finals.iter().for_each(|kept| session.pass_on(kept));
        info!(session_id = %session.id(), "an interrupted caption session waits for its audio");
        let (registry, restored) = (self.clone(), session.clone());
        let tasks = self.resources.tasks.clone();
        tasks.spawn("captions restored", turnpike_kit::OnExit::Continue, async move {
            let publisher = registry.publisher();
            let published = last_published(&registry.resources.bus, restored.topic()).await;
            for kept in finals.iter().filter(|kept| kept.segment > published) {
                let (caption, reason) = kept.caption();
                let event = CaptionsEvent::Final { session_id: restored.id(), caption, reason };
                publisher.append_event(&restored, event, false).await;
            }
            let event = publisher.status(&restored, CaptionsState::Starting, INTERRUPTED);
            publisher.append_event(&restored, event, false).await;
            restored.live.lock().last_audio = publisher.now();
            registry.supervise(restored);
        });
        session
    }

    /// Removes a session that has ended, with its transcript.
    pub(super) async fn remove(&self, session: &Session) -> std::io::Result<()> {
        self.resources.store.remove(session.id()).await?;
        self.sessions.lock().remove(&session.id());
        Ok(())
    }
}

fn kept(transcript: Transcript) -> std::sync::Arc<Session> {
    let Transcript { opened, finals, ended } = transcript;
    let (state, reason, at, samples) = ended.unwrap_or((CaptionsState::Stopped, String::new(), opened.at, 0));
    let session = Session::ended(opened, state, reason, Some(at), samples, finals.len() as u64, at);
    resume(&session, &finals, finals.len() as u64);
    session.nothing_follows();
    session
}

/// Counts what was passed on. Of the first `settled` finals, the others never will be.
fn resume(session: &Session, finals: &[Kept], settled: u64) {
    let count = |is_done: fn(&Kept) -> bool| finals.iter().filter(|kept| is_done(kept)).count() as u64;
    let queues = [
        (&session.translation, count(|kept| !kept.translation.is_empty())),
        (&session.room, count(|kept| kept.posted)),
    ];
    for (queue, done) in queues {
        queue.iter().for_each(|queue| queue.resumed(done, settled.saturating_sub(done)));
    }
}

/// The number of the latest final on the topic; 0: there is none, or the bus does not answer, and finals are published again.
async fn last_published(bus: &Bus, topic: Topic) -> u64 {
    let (mut after, mut last) = (None, 0);
    loop {
        let page = match bus.read(&topic, after, 1000).await {
            Ok(page) => page,
            Err(error) => {
                warn!(%error, %topic, "the captions that are published cannot be read");
                return last;
            }
        };
        let Some(newest) = page.records.last() else { return last };
        after = Some(newest.offset);
        for record in &page.records {
            if let Body::Captions(CaptionsEvent::Final { caption, .. }) = Event::from_bytes(record.event.clone()).body {
                last = last.max(caption.segment);
            }
        }
    }
}
