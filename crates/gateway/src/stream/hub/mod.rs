//! The hub: a topic that has readers on this gateway is followed once. Each event is decoded once and encoded once, and all
//! readers share the frame.
//!
//! A reader has a position and no queue. When it can write, it takes the frames after its position: from the topic's ring of
//! recent frames, or, if the position is before the ring, from the topic's history on the bus. A slow reader therefore has a
//! higher latency, but uses no more memory. A position moves only past frames that were taken, so a reader misses no event.
//!
//! A reader of an event stream has a task, which is woken. A reader of a WebSocket has none: a sweeper writes to all connections
//! that are current. It serves only a reader that is *current*: nothing but further frames of the same epoch can follow. Anything
//! else (a confirmation, history, a reset, the end of the topic) is the work of the connection's catch-up task.

mod channel;
pub(crate) mod frame;
pub(crate) mod members;
#[cfg(test)]
pub(crate) mod model;
pub(crate) mod ring;
mod sweep;
#[cfg(test)]
mod tests;
pub(crate) mod topic_reader;

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use turnpike_bus::Bus;
use turnpike_event::Event;
use turnpike_kit::Tasks;
use turnpike_topic::Topic;

use self::{
    channel::Channel,
    sweep::{FEW, Sweepers},
};

/// Called with each event that passes this gateway. It may end readers.
pub(crate) type Seen = Arc<dyn Fn(Topic, &Event) + Send + Sync>;

/// The topics that this gateway follows.
#[derive(Clone)]
pub(crate) struct Hub(Arc<Inner>);

struct Inner {
    bus: Bus,
    tasks: Tasks,
    seen: Seen,
    sweepers: Sweepers,
    channels: Mutex<HashMap<Topic, Entry>>,
}

struct Entry {
    channel: Arc<Channel>,
    readers: usize,
}

impl Hub {
    /// Must be called within a runtime: it starts the sweepers, which run until `drained`.
    pub(crate) fn new(bus: Bus, tasks: Tasks, drained: &CancellationToken, seen: Seen) -> Self {
        Self::with(FEW, bus, tasks, drained, seen)
    }

    fn with(few: usize, bus: Bus, tasks: Tasks, drained: &CancellationToken, seen: Seen) -> Self {
        let sweepers = Sweepers::start(few, &tasks, drained);
        Self(Arc::new(Inner { bus, tasks, seen, sweepers, channels: Mutex::default() }))
    }

    /// A hub whose sweepers write to every connection, also to the few of a small topic.
    #[cfg(test)]
    pub(crate) fn of_sweepers(bus: Bus, tasks: Tasks) -> Self {
        Self::with(0, bus, tasks, &CancellationToken::new(), Arc::new(|_, _| {}))
    }

    /// Adds a reader of a topic. The topic is followed until every reader has called [`Hub::leave`].
    fn join(&self, topic: Topic) -> Arc<Channel> {
        let mut channels = self.0.channels.lock();
        let entry = channels.entry(topic).or_insert_with(|| {
            metrics::gauge!("turnpike_gateway_topics").increment(1);
            let channel = Channel::open(topic, &self.0.bus, &self.0.tasks, &self.0.sweepers, &self.0.seen);
            Entry { channel, readers: 0 }
        });
        entry.readers += 1;
        entry.channel.clone()
    }

    pub(crate) fn topics(&self) -> usize {
        self.0.channels.lock().len()
    }

    fn bus(&self) -> &Bus {
        &self.0.bus
    }

    /// Removes a reader of a topic. Without readers, the topic is no longer followed.
    fn leave(&self, topic: &Topic) {
        let mut channels = self.0.channels.lock();
        let Some(entry) = channels.get_mut(topic) else { return };
        entry.readers -= 1;
        if entry.readers == 0 {
            entry.channel.close();
            channels.remove(topic);
            metrics::gauge!("turnpike_gateway_topics").decrement(1);
        }
    }
}
