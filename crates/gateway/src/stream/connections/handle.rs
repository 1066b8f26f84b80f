//! One connection as the rest of the gateway sees it.

use std::{
    future::pending,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use turnpike_identity::Caller;
use turnpike_topic::{ConnectionId, Topic, UserId};

use super::{Origin, Purpose};
use crate::stream::{
    conn::{Conn, Traffic},
    ending::Ending,
    wheel::{AtomicTick, Tick, ticks},
};

pub(crate) struct Handle {
    pub(super) id: ConnectionId,
    pub(super) user_id: UserId,
    pub(super) since: Timestamp,
    pub(super) origin: Origin,
    pub(super) purpose: Purpose,
    pub(super) caller: Mutex<Caller>,
    /// Set once: the first reason counts.
    ending: OnceLock<Ending>,
    /// `None` until the connection is open.
    target: OnceLock<Target>,
    /// The topic of a stream.
    topic: OnceLock<Topic>,
    /// Bytes of a stream that were handed to its connection.
    sent: AtomicU64,
    /// When the timer wheel looks at this connection next.
    pub(super) scheduled: AtomicTick,
}

/// How a connection is reached.
pub(crate) enum Target {
    Socket(Arc<Conn>),
    /// An event stream: notified when it must end.
    Stream(Arc<Notify>),
}

/// How often the timer wheel looks at a stream whose access token may expire.
const GENERATION: Duration = Duration::from_secs(3600);

impl Handle {
    pub(super) fn new(purpose: Purpose, caller: Caller, origin: Origin, since: Timestamp, now: Tick) -> Self {
        Self {
            id: ConnectionId::new(since),
            user_id: caller.claims.user_id,
            since,
            origin,
            purpose,
            caller: Mutex::new(caller),
            ending: OnceLock::new(),
            target: OnceLock::new(),
            topic: OnceLock::new(),
            sent: AtomicU64::new(0),
            scheduled: AtomicTick::new(now),
        }
    }

    /// This is a stream of a topic.
    pub(crate) fn names_topic(&self, topic: Topic) {
        let _ = self.topic.set(topic); // a stream has one
    }

    /// A stream sends bytes.
    pub(crate) fn sends(&self, bytes: &[u8]) {
        self.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }

    pub(super) fn target(&self) -> Option<&Target> {
        self.target.get()
    }

    pub(super) fn stream_topic(&self) -> Option<Topic> {
        self.topic.get().copied()
    }

    /// The position of a stream is known to its own task only.
    pub(super) fn stream_traffic(&self) -> Traffic {
        Traffic { sent: self.sent.load(Ordering::Relaxed), ..Traffic::default() }
    }

    pub(crate) fn caller(&self) -> Caller {
        self.caller.lock().clone()
    }

    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending.get().copied()
    }

    /// Waits until this stream must end. Cancel-safe.
    pub(crate) async fn ended(&self) -> Ending {
        loop {
            match (self.ending(), self.target.get()) {
                (Some(ending), _) => return ending,
                (None, Some(Target::Stream(wake))) => wake.notified().await,
                (None, _) => pending().await, // a socket is ended by its `Conn`
            }
        }
    }

    /// The connection is open. An ending that was decided before reaches it now.
    pub(super) fn attach(&self, target: Target) {
        let _ = self.target.set(target); // a connection attaches once
        if self.ending().is_some() {
            self.carry_out();
        }
    }

    pub(super) fn end(&self, reason: Ending) {
        let _ = self.ending.set(reason); // an earlier reason stays
        self.carry_out();
    }

    /// Ends the connection for the reason that was decided. Never waits.
    fn carry_out(&self) {
        match (self.target.get(), self.ending()) {
            (Some(Target::Socket(conn)), Some(ending)) => conn.end(ending.into()),
            (Some(Target::Stream(wake)), Some(_)) => wake.notify_one(),
            _ => {} // not open yet: `attach` continues
        }
    }

    /// Sends a notice about a topic, a complete frame, to a socket that follows the topic.
    pub(crate) fn notify(&self, topic: Topic, frame: &[u8]) {
        if let Some(Target::Socket(conn)) = self.target.get() {
            conn.notify(topic, frame);
        }
    }

    /// The client may no longer follow this topic.
    pub(crate) fn end_reading(&self, topic: Topic) {
        match self.target.get() {
            Some(Target::Socket(conn)) => conn.end_reading(topic),
            Some(Target::Stream(_)) => self.end(Ending::Excluded),
            None => {}
        }
    }

    pub(super) fn report_bus_outage(&self, outage: bool) {
        if let Some(Target::Socket(conn)) = self.target.get() {
            conn.report_bus_outage(outage);
        }
    }

    /// Does what is due. Returns when to look next.
    pub(super) fn look(&self, now: Tick, time: Timestamp) -> Tick {
        let left = match self.purpose {
            Purpose::Topics => {
                Duration::try_from(time.duration_until(self.caller.lock().claims.expires_at)).unwrap_or_default()
            }
            Purpose::Generation => GENERATION,
        };
        if left.is_zero() {
            self.end(Ending::TokenExpired);
        }
        let expiry = now.after(ticks(left).max(1));
        match self.target.get() {
            Some(Target::Socket(conn)) => {
                let next = conn.look();
                if next.left(now) < expiry.left(now) { next } else { expiry }
            }
            Some(Target::Stream(_)) | None => expiry,
        }
    }
}
