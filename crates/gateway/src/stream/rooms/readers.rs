//! The readers of rooms on this gateway, and what of them is not reported yet. A plain value: it knows no sockets and no clocks.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use jiff::Timestamp;
use turnpike_topic::{RoomId, UserId};

/// A user's activity is reported at most this often.
const SEEN_EVERY: Duration = Duration::from_secs(30);

type Place = (RoomId, UserId);

/// `H` is how a connection is reached.
pub(super) struct Readers<H> {
    rooms: HashMap<RoomId, HashMap<UserId, Present<H>>>,
    /// Reported state and present state may differ.
    dirty: BTreeSet<Place>,
}

/// The connections of one user that follow one room.
struct Present<H> {
    sockets: Vec<(u64, H)>,
    /// Event streams: their user is not present.
    streams: Vec<(u64, H)>,
    since: Timestamp,
    seen: Timestamp,
    /// When `seen` was reported last.
    reported: Timestamp,
}

/// What is reported of one user in one room.
#[derive(Debug, PartialEq)]
pub(super) struct State<H> {
    pub(super) room: RoomId,
    pub(super) user: UserId,
    pub(super) connections: u32,
    /// One of the connections; `None` if there is none.
    pub(super) handle: Option<H>,
    pub(super) since: Timestamp,
    pub(super) seen: Timestamp,
}

impl<H> Default for Readers<H> {
    fn default() -> Self {
        Self { rooms: HashMap::new(), dirty: BTreeSet::new() }
    }
}

impl<H: Clone> Readers<H> {
    pub(super) fn enter(&mut self, place: Place, connection: u64, handle: H, is_socket: bool, now: Timestamp) {
        let new = Present { sockets: Vec::new(), streams: Vec::new(), since: now, seen: now, reported: now };
        let present = self.rooms.entry(place.0).or_default().entry(place.1).or_insert(new);
        match is_socket {
            true => {
                present.sockets.push((connection, handle));
                present.seen = now;
                self.dirty.insert(place);
            }
            false => present.streams.push((connection, handle)),
        }
    }

    pub(super) fn leave(&mut self, place: Place, connection: u64) {
        let Some(users) = self.rooms.get_mut(&place.0) else { return };
        let Some(present) = users.get_mut(&place.1) else { return };
        let sockets = present.sockets.len();
        present.sockets.retain(|(id, _)| *id != connection);
        present.streams.retain(|(id, _)| *id != connection);
        if present.sockets.len() < sockets {
            self.dirty.insert(place);
        }
        if present.sockets.is_empty() && present.streams.is_empty() {
            users.remove(&place.1);
            if users.is_empty() {
                self.rooms.remove(&place.0);
            }
        }
    }

    /// The user was active. Returns whether that is to be reported.
    pub(super) fn touch(&mut self, place: Place, now: Timestamp) -> bool {
        let Some(present) = self.rooms.get_mut(&place.0).and_then(|users| users.get_mut(&place.1)) else {
            return false;
        };
        present.seen = now;
        if now.duration_since(present.reported).unsigned_abs() < SEEN_EVERY {
            return false;
        }
        present.reported = now;
        self.dirty.insert(place)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rooms.is_empty() && self.dirty.is_empty()
    }

    pub(super) fn is_in(&self, place: Place) -> bool {
        self.rooms
            .get(&place.0)
            .and_then(|users| users.get(&place.1))
            .is_some_and(|present| !present.sockets.is_empty())
    }

    /// Takes up to `most` states that are to be reported.
    pub(super) fn take(&mut self, most: usize) -> Vec<State<H>> {
        let places: Vec<_> = self.dirty.iter().take(most).copied().collect();
        let state = |place: Place| {
            self.dirty.remove(&place);
            let (room, user) = place;
            match self.rooms.get(&room).and_then(|users| users.get(&user)).filter(|present| !present.sockets.is_empty())
            {
                Some(present) => State {
                    room,
                    user,
                    connections: u32::try_from(present.sockets.len()).unwrap_or(u32::MAX),
                    handle: present.sockets.last().map(|(_, handle)| handle.clone()),
                    since: present.since,
                    seen: present.seen,
                },
                None => {
                    let never = Timestamp::UNIX_EPOCH;
                    State { room, user, connections: 0, handle: None, since: never, seen: never }
                }
            }
        };
        places.into_iter().map(state).collect()
    }

    /// The states were not reported, and will be.
    pub(super) fn put_back(&mut self, states: &[State<H>]) {
        self.dirty.extend(states.iter().map(|state| (state.room, state.user)));
    }

    /// Everything is to be reported again.
    pub(super) fn report_all(&mut self) {
        self.dirty.clear();
        for (room, users) in &self.rooms {
            let present = users.iter().filter(|(_, present)| !present.sockets.is_empty());
            self.dirty.extend(present.map(|(user, _)| (*room, *user)));
        }
    }

    /// Reports a whole room again, so that the owner of the room can refuse users. Returns its event streams.
    pub(super) fn recheck(&mut self, room: RoomId) -> Vec<H> {
        let Some(users) = self.rooms.get(&room) else { return Vec::new() };
        let present = users.iter().filter(|(_, present)| !present.sockets.is_empty());
        self.dirty.extend(present.map(|(user, _)| (room, *user)));
        users.values().flat_map(|present| present.streams.iter().map(|(_, handle)| handle.clone())).collect()
    }

    /// All connections of a user that follow a room.
    pub(super) fn of_user(&self, room: RoomId, user: UserId) -> Vec<H> {
        let present = self.rooms.get(&room).and_then(|users| users.get(&user));
        let all = present.into_iter().flat_map(|present| present.sockets.iter().chain(&present.streams));
        all.map(|(_, handle)| handle.clone()).collect()
    }

    /// The sockets of all other users that follow a room.
    pub(super) fn of_others(&self, room: RoomId, user: UserId) -> Vec<H> {
        let users = self.rooms.get(&room).into_iter().flatten();
        let others = users.filter(|(id, _)| **id != user);
        others.flat_map(|(_, present)| present.sockets.iter().map(|(_, handle)| handle.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(room: u128, user: u128) -> Place {
        (uuid::Uuid::from_u128(room).into(), uuid::Uuid::from_u128(user).into())
    }

    fn second(n: i64) -> Timestamp {
        Timestamp::from_second(n).expect("in range")
    }

    fn counts(readers: &mut Readers<&'static str>) -> Vec<(Place, u32)> {
        readers.take(100).iter().map(|state| ((state.room, state.user), state.connections)).collect()
    }

    #[test]
    fn a_user_is_reported_once_with_all_sockets() {
        let mut readers = Readers::default();
        let (ada, bob) = (place(1, 1), place(1, 2));
        readers.enter(ada, 1, "a", true, second(0));
        readers.enter(ada, 2, "b", true, second(1));
        readers.enter(bob, 3, "c", false, second(1));
        assert_eq!(counts(&mut readers), [(ada, 2)], "an event stream is not present");
        assert_eq!(counts(&mut readers), []);
        readers.leave(ada, 1);
        readers.leave(bob, 3);
        assert_eq!(counts(&mut readers), [(ada, 1)]);
        readers.leave(ada, 2);
        readers.leave(ada, 2);
        assert!(!readers.is_empty(), "the end is to be reported");
        assert_eq!(counts(&mut readers), [(ada, 0)]);
        assert!(readers.is_empty() && readers.rooms.is_empty());
    }

    #[test]
    fn a_report_that_failed_is_repeated_with_the_present_state() {
        let mut readers = Readers::default();
        let ada = place(1, 1);
        readers.enter(ada, 1, "a", true, second(0));
        let states = readers.take(100);
        readers.leave(ada, 1);
        readers.put_back(&states);
        assert_eq!(counts(&mut readers), [(ada, 0)]);
        readers.enter(ada, 2, "b", true, second(0));
        readers.enter(place(2, 1), 2, "b", true, second(0));
        assert_eq!(readers.take(1).len(), 1);
        readers.report_all();
        assert_eq!(counts(&mut readers).len(), 2, "everything");
    }

    #[test]
    fn activity_is_reported_from_time_to_time() {
        let mut readers = Readers::default();
        let ada = place(1, 1);
        readers.enter(ada, 1, "a", true, second(0));
        readers.take(100);
        assert!(!readers.touch(ada, second(29)));
        assert!(readers.touch(ada, second(31)));
        assert_eq!(readers.take(100)[0].seen, second(31));
        assert!(!readers.touch(ada, second(60)));
        assert!(!readers.touch(place(9, 9), second(60)));
    }

    #[test]
    fn audiences_are_the_user_or_the_others() {
        let mut readers = Readers::default();
        readers.enter(place(1, 1), 1, "ada", true, second(0));
        readers.enter(place(1, 1), 2, "ada's stream", false, second(0));
        readers.enter(place(1, 2), 3, "bob", true, second(0));
        readers.enter(place(2, 3), 4, "elsewhere", true, second(0));
        let (room, ada) = place(1, 1);
        assert_eq!(readers.of_user(room, ada), ["ada", "ada's stream"]);
        assert_eq!(readers.of_others(room, ada), ["bob"]);
        readers.take(100);
        assert_eq!(readers.recheck(room), ["ada's stream"]);
        assert_eq!(counts(&mut readers).len(), 2);
    }
}
