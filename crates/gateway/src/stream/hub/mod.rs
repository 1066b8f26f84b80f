//! The hub: every topic that somebody here follows is followed once, decoded once and encoded once, and its frames are
//! shared by all who want them.
//!
//! Nobody has a queue. A reader has a cursor, and takes what comes after it when it can write: from the topic's ring of
//! recent frames, or, if it has fallen behind the ring, from the topic's history on the bus. So a slow reader costs itself
//! latency and nobody memory, and what it gets has no hole: a cursor only ever moves by what was handed over.

mod channel;
mod frame;
mod subscription;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::sync::Notify;
use turnpike_bus::Bus;
use turnpike_kit::Tasks;
use turnpike_topic::Topic;

pub(crate) use frame::Frame;
pub(crate) use subscription::{Batch, Subscription};

use channel::Channel;

use super::since::Since;

/// Every topic that is followed here.
#[derive(Clone)]
pub(crate) struct Hub(Arc<Inner>);

struct Inner {
    bus: Bus,
    tasks: Tasks,
    channels: Mutex<HashMap<Topic, Entry>>,
}

struct Entry {
    channel: Arc<Channel>,
    readers: usize,
}

impl Hub {
    pub(crate) fn new(bus: Bus, tasks: Tasks) -> Self {
        Self(Arc::new(Inner { bus, tasks, channels: Mutex::default() }))
    }

    /// A reader of a topic, woken through `wake` whenever there may be something to take.
    pub(crate) fn subscribe(&self, topic: Topic, since: Since, wake: &Arc<Notify>) -> Subscription {
        let mut channels = self.0.channels.lock().expect("no panic while it is held");
        let entry = channels.entry(topic).or_insert_with(|| {
            metrics::gauge!("turnpike_gateway_topics").increment(1);
            Entry { channel: Channel::open(topic, &self.0.bus, &self.0.tasks), readers: 0 }
        });
        entry.readers += 1;
        let channel = entry.channel.clone();
        drop(channels);
        Subscription::new(self.clone(), channel, since, wake)
    }

    /// How many topics are followed.
    pub(crate) fn topics(&self) -> usize {
        self.0.channels.lock().expect("no panic while it is held").len()
    }

    fn bus(&self) -> &Bus {
        &self.0.bus
    }

    /// A reader is gone; with the last one the topic is no longer followed.
    fn leave(&self, topic: &Topic) {
        let mut channels = self.0.channels.lock().expect("no panic while it is held");
        let Some(entry) = channels.get_mut(topic) else { return };
        entry.readers -= 1;
        if entry.readers == 0 {
            entry.channel.close();
            channels.remove(topic);
            metrics::gauge!("turnpike_gateway_topics").decrement(1);
        }
    }
}
