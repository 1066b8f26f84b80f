//! One topic on this gateway: its follower, its ring of recent frames, and the readers to wake.

use std::sync::Arc;

use futures_util::FutureExt;
use parking_lot::{Mutex, MutexGuard};
use tokio::task::AbortHandle;
use turnpike_bus::{Bus, Delivery, From, ResetReason};
use turnpike_event::Event;
use turnpike_kit::{OnExit, Tasks};
use turnpike_topic::{Offset, Topic};

use super::{
    Seen,
    frame::Frame,
    members::{Member, Members, Wake},
    ring::Ring,
    sweep::Sweepers,
};

pub(super) struct Channel {
    pub(super) topic: Topic,
    ring: Mutex<Ring>,
    members: Arc<Members>,
    sweepers: Sweepers,
    on_event: Seen,
    follower: Mutex<Option<AbortHandle>>,
}

impl Channel {
    /// Follows a topic from its present head.
    pub(super) fn open(topic: Topic, bus: &Bus, tasks: &Tasks, sweepers: &Sweepers, seen: &Seen) -> Arc<Self> {
        let (members, sweepers) = (Arc::new(Members::new(sweepers.len())), sweepers.clone());
        let channel = Arc::new(Self {
            topic,
            ring: Mutex::new(Ring::new()),
            members,
            sweepers,
            on_event: seen.clone(),
            follower: Mutex::default(),
        });
        channel.follow(bus, tasks);
        channel
    }

    fn follow(self: &Arc<Self>, bus: &Bus, tasks: &Tasks) {
        let (followed, mut follower) = (Arc::downgrade(self), bus.follow(self.topic, From::Live));
        let handle = tasks.spawn("topic", OnExit::Continue, async move {
            let mut arrived = None;
            loop {
                let delivery = match arrived.take() {
                    Some(delivery) => delivery,
                    None => follower.next().await,
                };
                arrived = follower.next().now_or_never();
                let Some(channel) = followed.upgrade() else { return };
                if !channel.take(delivery, arrived.is_none()) {
                    // The topic is closed. Readers that are not at its end yet use the ring.
                    return;
                }
            }
        });
        *self.follower.lock() = Some(handle);
    }

    /// A reader found the topic in this epoch (`None`: it does not exist). If the ring has the closed topic of another epoch, the
    /// ring is cleared and the topic is followed again. Returns whether that happened.
    pub(super) fn follow_again_if_outdated(self: &Arc<Self>, epoch: Option<u64>, bus: &Bus, tasks: &Tasks) -> bool {
        let mut ring = self.ring();
        if !ring.closed || ring.epoch == epoch {
            return false;
        }
        *ring = Ring::after_reset(false, ring.epoch);
        self.follow(bus, tasks);
        true
    }

    /// Stops following.
    pub(super) fn close(&self) {
        if let Some(handle) = self.follower.lock().take() {
            handle.abort();
        }
    }

    pub(super) fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock()
    }

    /// `is_last`: no further delivery has arrived yet. Returns whether more can follow.
    fn take(&self, delivery: Delivery, is_last: bool) -> bool {
        let mut ring = self.ring();
        let mut seen = None;
        match delivery {
            Delivery::Record(record) => {
                let record = record.map(Event::from_bytes);
                let Offset { epoch, n } = record.offset;
                if ring.frames.is_empty() && !ring.ready || ring.epoch.is_none() {
                    (ring.epoch, ring.base) = (Some(epoch), n - 1);
                }
                ring.push(Arc::new(Frame::of(&self.topic, &record)));
                seen = Some(record.event);
            }
            Delivery::CaughtUp { head } => {
                if !ring.ready && ring.frames.is_empty() {
                    (ring.epoch, ring.base) = (head.map(|head| head.epoch), head.map_or(0, |head| head.n));
                }
                ring.ready = true;
            }
            Delivery::Reset { reason, head } => {
                // With a head, the records of the new epoch follow. A reader that was not woken in between must still learn of
                // the lost epoch.
                let lost = match reason {
                    ResetReason::Epoch => ring.epoch.or(ring.lost),
                    ResetReason::Trimmed => ring.lost,
                };
                *ring = Ring::after_reset(head.is_none(), lost);
            }
            Delivery::Closed => {
                (ring.closed, ring.ready) = (true, true);
            }
        }
        let more = !ring.closed;
        drop(ring);
        self.sweepers.news(&self.members, is_last);
        if let Some(event) = seen {
            (self.on_event)(self.topic, &event);
        }
        more
    }

    /// Adds a reader, which is woken from now on.
    pub(super) fn enter(&self, wake: &Wake) -> Member {
        self.members.enter(wake)
    }

    pub(super) fn leave(&self, member: &Member) {
        self.members.leave(member);
    }
}
