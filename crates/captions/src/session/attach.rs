//! Streams of audio to a session: one at a time, the latest one wins.

use std::{future::Future, sync::Arc};

use jiff::Timestamp;
use tokio::sync::watch;
use turnpike_event::CaptionsState;
use turnpike_fault::{Fault, Kind};

use super::{
    slot::{Item, Slot},
    state::{Session, SessionError},
};

/// The right to send audio to a session. Given back when it is dropped, however its stream ends.
pub(crate) struct Lease {
    session: Arc<Session>,
    slot: Arc<Slot>,
    number: u64,
    latest: watch::Receiver<u64>,
    /// Bytes that the service has already.
    skip: u64,
}

/// Why audio is not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Rejected {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("another stream has taken the place of this one")]
    Replaced,
    #[error("audio is missing before sample {0}")]
    Gap(u64),
}

impl From<Rejected> for Fault {
    fn from(rejected: Rejected) -> Self {
        match rejected {
            Rejected::Session(error) => error.into(),
            Rejected::Replaced => {
                Self::new(Kind::Conflict, "Another stream of audio has taken the place of this one").code_is("REPLACED")
            }
            Rejected::Gap(samples) => Self::new(Kind::Invalid, "Audio is missing before this sample")
                .code_is("AUDIO_GAP")
                .field("sample", format!("must be at most {samples}, where the audio ended")),
        }
    }
}

impl Lease {
    /// Takes the place of the session's stream. `from`: the number of the first sample that will follow; `None`: the one where the
    /// audio ended. `snapshot`: the snapshot that named it; an earlier one than that of the present stream takes no place.
    pub(crate) fn take(
        session: &Arc<Session>,
        from: Option<u64>,
        snapshot: Option<u64>,
        now: Timestamp,
    ) -> Result<Self, Rejected> {
        let slot = session.slot().ok_or(SessionError::Ended)?;
        let mut live = session.live.lock();
        if snapshot.is_some_and(|snapshot| snapshot < live.continued) {
            return Err(Rejected::Replaced);
        }
        let arrived = live.samples;
        let from = from.unwrap_or(arrived);
        let known = arrived.checked_sub(from).ok_or(Rejected::Gap(arrived))?;
        live.continued = snapshot.unwrap_or(live.snapshots);
        live.snapshots = live.snapshots.max(live.continued); // this instance may have restarted since the snapshot
        live.decoder.align();
        live.last_audio = now;
        let mut number = 0;
        session.streams.send_modify(|latest| {
            *latest += 1;
            number = *latest;
        });
        drop(live);
        let mut latest = session.streams.subscribe();
        latest.mark_unchanged();
        metrics::gauge!("turnpike_captions_audio_leases").increment(1.0);
        let skip = known * session.format.width() as u64;
        Ok(Self { session: session.clone(), slot, number, latest, skip })
    }

    /// The session.
    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Completes when another stream has taken the place of this one.
    pub(crate) fn replaced(&self) -> impl Future<Output = ()> + Send + 'static {
        let (mut latest, number) = (self.latest.clone(), self.number);
        async move {
            // The sender lives as long as the session, of which the lease is a handle.
            let _ = latest.wait_for(|latest| *latest != number).await;
        }
    }

    /// Gives audio to the session. Waits while too much audio waits.
    pub(crate) async fn send(&mut self, bytes: &[u8], now: impl Fn() -> Timestamp) -> Result<(), Rejected> {
        let skipped = self.skip.min(bytes.len() as u64);
        let bytes = &bytes[skipped as usize..];
        loop {
            let room = self.slot.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if !self.session.is_alive() {
                return Err(SessionError::Ended.into());
            }
            if *self.latest.borrow() != self.number {
                return Err(Rejected::Replaced);
            }
            if self.slot.has_room() {
                break;
            }
            tokio::select! {
                () = room => {}
                () = self.replaced() => {}
            }
        }
        // From here on nothing waits: a stream that is dropped has sent all of these bytes, or none.
        self.skip -= skipped;
        let mut live = self.session.live.lock();
        if *self.latest.borrow() != self.number {
            return Err(Rejected::Replaced);
        }
        let samples = live.decoder.samples(bytes);
        live.last_audio = now();
        live.samples += samples.len() as u64;
        let pcm = live.decoder.resample(samples);
        let (state, length) = (live.state, pcm.len() as u64);
        match state {
            _ if pcm.is_empty() => {}
            CaptionsState::Paused => self.slot.give(Item::Skip(length)),
            CaptionsState::Starting => {
                drop(live);
                self.session.announce(CaptionsState::Running, "")?;
                self.slot.give(Item::Audio(pcm));
            }
            _ => self.slot.give(Item::Audio(pcm)),
        }
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        metrics::gauge!("turnpike_captions_audio_leases").decrement(1.0);
    }
}
