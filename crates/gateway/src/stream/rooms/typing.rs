//! Who types. Typing ends by itself, also if the client or its connection is gone.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use turnpike_kit::{OnExit, Process};
use turnpike_topic::{RoomId, UserId};

use super::Rooms;

/// A client that types says so again within this time.
const LASTS: Duration = Duration::from_secs(6);
/// The others are told again at most this often.
const AGAIN: Duration = Duration::from_secs(3);
/// Pause between two searches for those who have stopped.
const LOOK: Duration = Duration::from_millis(500);

/// Those who type, each with the time until which they do. At most one entry for each reader of a room.
#[derive(Default)]
pub(super) struct Typing(HashMap<(RoomId, UserId), Entry>);

struct Entry {
    name: Arc<str>,
    until: Timestamp,
    told: Timestamp,
}

impl Typing {
    /// Returns whether the others are to be told.
    pub(super) fn set(&mut self, place: (RoomId, UserId), name: &Arc<str>, is_typing: bool, now: Timestamp) -> bool {
        if !is_typing {
            return self.0.remove(&place).is_some();
        }
        match self.0.get_mut(&place) {
            Some(entry) => {
                entry.until = now + LASTS;
                let again = now.duration_since(entry.told).unsigned_abs() >= AGAIN;
                if again {
                    entry.told = now;
                }
                again
            }
            None => {
                self.0.insert(place, Entry { name: name.clone(), until: now + LASTS, told: now });
                true
            }
        }
    }

    /// Removes those who have stopped, or are gone, and returns them with their names.
    fn expired(
        &mut self,
        now: Timestamp,
        is_here: impl Fn((RoomId, UserId)) -> bool,
    ) -> Vec<(RoomId, UserId, Arc<str>)> {
        let over = |place: &(RoomId, UserId), entry: &mut Entry| entry.until <= now || !is_here(*place);
        self.0
            .extract_if(|place, entry| over(place, entry))
            .map(|((room, user), entry)| (room, user, entry.name))
            .collect()
    }
}

impl Rooms {
    pub(super) fn expire_typing(&self, process: &Process, drained: &CancellationToken) {
        let (rooms, drained) = (self.clone(), drained.clone());
        process.tasks.spawn("typing", OnExit::StopProcess, async move {
            loop {
                tokio::select! {
                    () = drained.cancelled() => return,
                    () = turnpike_kit::tick(LOOK) => {}
                }
                if rooms.0.typing.lock().0.is_empty() {
                    continue;
                }
                let expired = {
                    let (mut typing, readers) = (rooms.0.typing.lock(), rooms.0.readers.lock());
                    typing.expired(rooms.0.clock.now(), |place| readers.is_in(place))
                };
                for (room, user, name) in expired {
                    rooms.notify_typing(room, user, &name, false).await;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn typing_is_told_once_and_ends_by_itself() {
        let mut typing = Typing::default();
        let place = (Uuid::from_u128(1).into(), Uuid::from_u128(2).into());
        let (name, at) = ("ada".into(), |ms| Timestamp::from_millisecond(ms).expect("in range"));
        assert!(!typing.set(place, &name, false, at(0)), "it did not type");
        assert!(typing.set(place, &name, true, at(0)));
        assert!(!typing.set(place, &name, true, at(1_000)), "the others know");
        assert!(typing.set(place, &name, true, at(3_000)), "who has come since does not");
        assert!(typing.expired(at(8_999), |_| true).is_empty());
        assert_eq!(typing.expired(at(9_000), |_| true), [(place.0, place.1, name.clone())]);
        assert!(typing.set(place, &name, true, at(9_000)));
        assert_eq!(typing.expired(at(9_001), |_| false).len(), 1, "its connection is gone");
        assert!(typing.set(place, &name, true, at(9_002)));
        assert!(typing.set(place, &name, false, at(9_003)));
    }
}
