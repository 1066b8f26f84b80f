//! The topics of one connection, each in a slot.

use serde_json::Value;
use smallvec::SmallVec;
use turnpike_topic::Topic;

use crate::stream::reader::Reader;

/// Topics of one connection. A set of slots is a `u128`.
pub(crate) const MAX_TOPICS: usize = 100;

#[derive(Default)]
pub(super) struct Slots {
    /// Most connections have one topic.
    slots: SmallVec<[Option<Slot>; 1]>,
    /// The number of readers so far, to distinguish the readers that have used a slot.
    serial: u32,
}

pub(super) struct Slot {
    pub(super) topic: Topic,
    pub(super) serial: u32,
    pub(super) place: Place,
    /// The subscription is not confirmed yet: the id of the client's request.
    pub(super) confirm: Option<Option<Value>>,
}

/// Where the reader of a slot is.
pub(super) enum Place {
    /// It is being opened.
    Opening,
    Here(Box<Reader>),
    /// The catch-up task has it. `news`: it has more to take since then.
    Taken {
        news: bool,
    },
}

impl Slots {
    pub(super) fn reserve(&mut self, topic: Topic) -> Option<usize> {
        let free = self.slots.iter().position(Option::is_none);
        let number = match free {
            Some(number) => number,
            None if self.slots.len() < MAX_TOPICS => {
                self.slots.push(None);
                self.slots.len() - 1
            }
            None => return None,
        };
        self.serial = self.serial.wrapping_add(1);
        self.slots[number] = Some(Slot { topic, serial: self.serial, place: Place::Opening, confirm: None });
        Some(number)
    }

    pub(super) fn fill(&mut self, number: usize, reader: Reader, confirm: Option<Option<Value>>) {
        if let Some(slot) = self.get(number) {
            (slot.place, slot.confirm) = (Place::Here(Box::new(reader)), confirm);
        }
    }

    pub(super) fn get(&mut self, number: usize) -> Option<&mut Slot> {
        self.slots.get_mut(number)?.as_mut()
    }

    pub(super) fn find(&self, topic: Topic) -> Option<usize> {
        self.slots.iter().position(|slot| slot.as_ref().is_some_and(|slot| slot.topic == topic))
    }

    /// Some of the topics, and their number.
    pub(super) fn topics(&self, most: usize) -> (Vec<Topic>, usize) {
        let topics = self.slots.iter().flatten().map(|slot| slot.topic);
        (topics.clone().take(most).collect(), topics.count())
    }

    /// Events that the client has not got yet, in all topics. `None`: the catch-up task has a reader, or a topic is not known yet.
    pub(super) fn lag(&self) -> Option<u64> {
        self.slots.iter().flatten().try_fold(0, |sum: u64, slot| match &slot.place {
            Place::Here(reader) => Some(sum + reader.lag()?),
            Place::Opening | Place::Taken { .. } => None,
        })
    }

    /// Removes a slot. The caller drops it without the lock of the connection.
    #[must_use]
    pub(super) fn remove(&mut self, number: usize) -> Option<Slot> {
        self.slots.get_mut(number)?.take()
    }
}
