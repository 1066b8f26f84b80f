//! One topic on this gateway: a follower, a ring of recent frames, and whom to wake.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::{sync::Notify, task::AbortHandle};
use turnpike_bus::{Bus, Delivery, From, ResetReason};
use turnpike_kit::{OnExit, Tasks};
use turnpike_topic::{Offset, Topic};

use super::frame::Frame;

/// How much of a topic's recent past is kept here, so that a reader that is a little late need not ask the bus.
const RING_FRAMES: usize = 256;
const RING_BYTES: usize = 256 << 10;

pub(super) struct Channel {
    pub(super) topic: Topic,
    ring: Mutex<Ring>,
    wakes: Mutex<Wakes>,
    follower: Mutex<Option<AbortHandle>>,
}

#[derive(Default)]
struct Wakes {
    next: u64,
    readers: HashMap<u64, Arc<Notify>>,
}

/// The recent frames: every one after `base`, without a hole.
#[derive(Default)]
pub(super) struct Ring {
    /// The follower has found its place; before that nothing is known.
    pub(super) ready: bool,
    /// The topic's epoch; `None` while the topic does not exist.
    pub(super) epoch: Option<u64>,
    /// The frame before the first one here has this `n`.
    pub(super) base: u64,
    pub(super) frames: VecDeque<Arc<Frame>>,
    bytes: usize,
    /// The last frame was final.
    pub(super) closed: bool,
    /// How often the topic was reset.
    pub(super) resets: u64,
    /// The epoch that the last reset put an end to. It may be the one of now: a Redis that came back without its last second
    /// gives the same offsets to other events.
    pub(super) lost: Option<u64>,
}

impl Channel {
    /// Starts to follow a topic, from now on.
    pub(super) fn open(topic: Topic, bus: &Bus, tasks: &Tasks) -> Arc<Self> {
        let channel =
            Arc::new(Self { topic, ring: Mutex::default(), wakes: Mutex::default(), follower: Mutex::default() });
        channel.follow(bus, tasks);
        channel
    }

    fn follow(self: &Arc<Self>, bus: &Bus, tasks: &Tasks) {
        let (followed, mut follower) = (Arc::downgrade(self), bus.follow(self.topic, From::Live));
        let handle = tasks.spawn("topic", OnExit::Continue, async move {
            loop {
                let delivery = follower.next().await;
                let Some(channel) = followed.upgrade() else { return };
                if !channel.take(delivery) {
                    // The topic is closed; the ring stays for those who are still reading.
                    return;
                }
            }
        });
        *self.follower.lock().expect("no panic while it is held") = Some(handle);
    }

    /// A reader has found the topic in this life (none: it does not exist). If that is not the life that ended here, what is
    /// known here is of no more use, and the topic is followed anew. Says whether it is.
    pub(super) fn outlived(self: &Arc<Self>, epoch: Option<u64>, bus: &Bus, tasks: &Tasks) -> bool {
        let mut ring = self.ring();
        if !ring.closed || ring.epoch == epoch {
            return false;
        }
        *ring = Ring { resets: ring.resets + 1, lost: ring.epoch, ..Ring::default() };
        self.follow(bus, tasks);
        true
    }

    /// Stops following.
    pub(super) fn close(&self) {
        if let Some(handle) = self.follower.lock().expect("no panic while it is held").take() {
            handle.abort();
        }
    }

    pub(super) fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().expect("no panic while it is held")
    }

    /// Says whether more can come.
    fn take(&self, delivery: Delivery) -> bool {
        let mut ring = self.ring();
        match delivery {
            Delivery::Record(record) => {
                let Offset { epoch, n } = record.offset;
                if ring.frames.is_empty() && !ring.ready || ring.epoch.is_none() {
                    (ring.epoch, ring.base) = (Some(epoch), n - 1);
                }
                ring.push(Arc::new(Frame::new(&self.topic, record)));
            }
            Delivery::CaughtUp { head } => {
                if !ring.ready && ring.frames.is_empty() {
                    (ring.epoch, ring.base) = (head.map(|head| head.epoch), head.map_or(0, |head| head.n));
                }
                ring.ready = true;
            }
            Delivery::Reset { reason, head } => {
                // With a head, its records come next.
                // A reader that looks only now must learn of the loss, whatever was reset after it.
                let lost = match reason {
                    ResetReason::Epoch => ring.epoch.or(ring.lost),
                    ResetReason::Trimmed => ring.lost,
                };
                *ring = Ring { ready: head.is_none(), resets: ring.resets + 1, lost, ..Ring::default() };
            }
            Delivery::Closed => {
                (ring.closed, ring.ready) = (true, true);
            }
        }
        let more = !ring.closed;
        drop(ring);
        self.wake();
        more
    }

    fn wake(&self) {
        let wakes = self.wakes.lock().expect("no panic while it is held");
        for reader in wakes.readers.values() {
            reader.notify_one();
        }
    }

    pub(super) fn enter(&self, wake: &Arc<Notify>) -> u64 {
        let mut wakes = self.wakes.lock().expect("no panic while it is held");
        wakes.next += 1;
        let id = wakes.next;
        wakes.readers.insert(id, wake.clone());
        id
    }

    pub(super) fn leave(&self, id: u64) {
        self.wakes.lock().expect("no panic while it is held").readers.remove(&id);
    }
}

impl Ring {
    fn push(&mut self, frame: Arc<Frame>) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
        while self.frames.len() > RING_FRAMES || (self.bytes > RING_BYTES && self.frames.len() > 1) {
            if let Some(old) = self.frames.pop_front() {
                self.bytes -= old.len();
                self.base = old.offset.n;
            }
        }
    }

    /// Where the topic is now.
    pub(super) fn head(&self) -> Option<Offset> {
        let n = self.frames.back().map_or(self.base, |frame| frame.offset.n);
        self.epoch.map(|epoch| Offset { epoch, n })
    }
}
