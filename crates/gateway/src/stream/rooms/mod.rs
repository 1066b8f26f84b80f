//! Rooms on this gateway: who follows them here, which the chat service learns; notices; and who types.

mod notices;
mod readers;
mod reporting;
mod typing;

use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use turnpike_bus::Bus;
use turnpike_event::{Audience, Body, Event, RoomEvent, RoomNotice};
use turnpike_identity::Caller;
use turnpike_kit::{Clock, Process};
use turnpike_proto::chat::v1::room_service_client::RoomServiceClient;
use turnpike_rpc::Transport;
use turnpike_topic::{RoomId, Topic, UserId};

use self::{readers::Readers, typing::Typing};
use super::connections::Handle;

/// The rooms that are followed on this gateway.
#[derive(Clone)]
pub(crate) struct Rooms(Arc<Inner>);

struct Inner {
    bus: Bus,
    clock: Clock,
    readers: Mutex<Readers<Arc<Handle>>>,
    typing: Mutex<Typing>,
    /// Something is to be reported.
    changed: Notify,
}

/// A reader of a room. It is removed when this is dropped.
pub(crate) struct Reading {
    rooms: Rooms,
    room: RoomId,
    user: UserId,
    connection: u64,
}

impl Rooms {
    pub(crate) fn new(bus: Bus, clock: Clock) -> Self {
        let (readers, typing) = (Mutex::new(Readers::default()), Mutex::default());
        Self(Arc::new(Inner { bus, clock, readers, typing, changed: Notify::new() }))
    }

    /// Starts the tasks that report presence, deliver notices and end typing. They run until `drained`: while a stopping gateway
    /// has connections, their users are present.
    pub(crate) fn serve(&self, process: &Process, chat: RoomServiceClient<Transport>, drained: &CancellationToken) {
        self.report(process, chat, drained);
        self.deliver_notices(process, drained);
        self.expire_typing(process, drained);
    }

    /// Adds a reader. The user of a socket is present, the user of an event stream is not.
    pub(crate) fn enter(
        &self,
        room: RoomId,
        user: UserId,
        connection: u64,
        handle: &Arc<Handle>,
        is_socket: bool,
    ) -> Reading {
        let now = self.0.clock.now();
        self.0.readers.lock().enter((room, user), connection, handle.clone(), is_socket, now);
        self.0.changed.notify_one();
        Reading { rooms: self.clone(), room, user, connection }
    }

    /// The user was active in the room.
    pub(crate) fn touch(&self, room: RoomId, user: UserId) {
        if self.0.readers.lock().touch((room, user), self.0.clock.now()) {
            self.0.changed.notify_one();
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// An event of a room passes this gateway. Some events end readers.
    pub(crate) fn see(&self, topic: Topic, event: &Event) {
        let (Topic::Room(room), Body::Room(event)) = (topic, &event.body) else { return };
        match event {
            RoomEvent::Member { user_id, excluded: true, .. } => self.exclude(room, *user_id),
            RoomEvent::Changed { visibility, .. } if visibility == "private" => {
                // The next report finds out who is no member. Event streams are not reported: they resume, and are authorised again.
                let streams = self.0.readers.lock().recheck(room);
                streams.iter().for_each(|stream| stream.end_reading(topic));
                self.0.changed.notify_one();
            }
            _ => {}
        }
    }

    /// Ends the readers of a user who may not follow the room.
    fn exclude(&self, room: RoomId, user: UserId) {
        let handles = self.0.readers.lock().of_user(room, user);
        handles.iter().for_each(|handle| handle.end_reading(Topic::Room(room)));
    }

    /// A user types, or has stopped.
    pub(crate) async fn typing(&self, room: RoomId, caller: &Caller, is_typing: bool) {
        let (user, name) = (caller.claims.user_id, &caller.claims.username);
        if self.0.typing.lock().set((room, user), name, is_typing, self.0.clock.now()) {
            self.notify_typing(room, user, name, is_typing).await;
        }
    }

    async fn notify_typing(&self, room: RoomId, user_id: UserId, name: &str, is_typing: bool) {
        let notice = RoomNotice::Typing { user_id, username: name.to_owned(), is_typing };
        let event = Event { at: self.0.clock.now(), body: Body::Notice(notice) };
        // A notice may be lost: typing ends by itself.
        let _ = self.0.bus.notify(&Topic::Room(room), &event.to_bytes()).await;
    }

    fn audience(&self, room: RoomId, audience: Audience) -> Vec<Arc<Handle>> {
        let readers = self.0.readers.lock();
        match audience {
            Audience::Only(user) => readers.of_user(room, user),
            Audience::Except(user) => readers.of_others(room, user),
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.rooms.0.readers.lock().leave((self.room, self.user), self.connection);
        self.rooms.0.changed.notify_one();
    }
}
