//! Finals as messages of the owner in a room.

use turnpike_fault::{Fault, Kind};
use turnpike_identity::AccessToken;

use super::{pass::Way, publisher::Publisher, state::Session, store::Line};
use crate::{
    chat::Chat,
    passing::{Item, Queue},
};

/// The way to a room.
pub(super) struct ToRoom(pub(super) Chat);

impl Way for ToRoom {
    const FAILED: &'static str = "room_failed";
    /// About five minutes: the chat service may restart meanwhile.
    const ATTEMPTS: u32 = 300;

    fn queue<'a>(&self, session: &'a Session) -> Option<&'a Queue> {
        session.room.as_ref()
    }

    async fn call(&self, token: &AccessToken, session: &Session, item: &Item) -> Result<String, Fault> {
        let missing = || Fault::new(Kind::NotFound, "There is no such room");
        let room = session.opened.room_id.ok_or_else(missing)?;
        self.0.post(token, room, session.id(), (item.segment, &item.text)).await.map(|()| String::new())
    }

    async fn keep(&self, publisher: &Publisher, session: &Session, item: &Item, _: String) -> bool {
        publisher.append(session, &Line::Posted { segment: item.segment }).await;
        session.change_final(item.segment, |kept| kept.posted = true);
        true
    }
}
