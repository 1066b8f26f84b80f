//! What has passed through a connection, and when: for the registry, which reports it to admins.

use std::sync::atomic::Ordering;

use turnpike_topic::Topic;

use super::Conn;
use crate::stream::wheel::Tick;

/// What has passed through a connection, and when.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    /// When the client sent something that was no pong.
    pub(crate) last_active: Option<Tick>,
    /// When the client answered a ping or sent a heartbeat.
    pub(crate) last_heartbeat: Option<Tick>,
    /// Bytes to the client, and from it.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Events that the client has not got yet; `None`: not known.
    pub(crate) lag: Option<u64>,
}

impl Conn {
    /// The client showed that it is there: it answered a ping, or sent a heartbeat.
    pub(crate) fn beats(&self) {
        self.out.lock().heartbeat = Some(self.shared.wheel.now());
    }

    /// The client sent something that is no pong.
    pub(crate) fn acts(&self) {
        self.active.set(self.shared.wheel.now());
    }

    /// Some of the topics, and their number.
    pub(crate) fn topics(&self, most: usize) -> (Vec<Topic>, usize) {
        self.out.lock().slots().topics(most)
    }

    pub(crate) fn traffic(&self) -> Traffic {
        let mut out = self.out.lock();
        Traffic {
            last_active: Some(self.active.get()),
            last_heartbeat: out.heartbeat,
            sent: self.stream.sent(),
            received: self.received.load(Ordering::Relaxed),
            lag: out.slots().lag(),
        }
    }
}
