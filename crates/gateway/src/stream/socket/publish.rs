//! What a client sends to rooms.

use serde_json::Value;
use turnpike_fault::{Fault, Kind};
use turnpike_proto::chat::v1 as pb;
use turnpike_topic::{RoomId, Topic};

use super::{health::HealthData, request::Publication, session::Session};
use crate::stream::control_frames;

impl Session {
    pub(super) async fn publish(&self, id: Option<&Value>, room: RoomId, what: Publication) {
        self.context.rooms.touch(room, self.registration.user_id());
        let published = match what {
            Publication::Message { content, key } => self.post(room, content, key).await,
            // Who follows the room was allowed to see it.
            Publication::Typing(_) if !self.conn.follows(Topic::Room(room)) => {
                Err(Fault::new(Kind::NotFound, "This socket does not follow the room").code_is("NOT_SUBSCRIBED"))
            }
            Publication::Typing(is_typing) => {
                self.context.rooms.typing(room, &self.registration.handle.caller(), is_typing).await;
                Ok(None)
            }
        };
        match (published, id) {
            (Ok(Some(message)), Some(id)) => self.conn.say(control_frames::published(id, Topic::Room(room), &message)),
            (Ok(_), _) => {}
            (Err(fault), id) => self.conn.say(refusal(id, room, &fault)),
        }
    }

    /// The progress and the insights come as notices, to this user's sockets in the room.
    pub(super) async fn analyze(&self, id: Option<&Value>, room: RoomId, data: HealthData) {
        self.context.rooms.touch(room, self.registration.user_id());
        let request = self.registration.handle.caller().token.request(data.request(room));
        if let Err(status) = self.context.chat.clone().analyze_health(request).await {
            let fault = Fault::from(status);
            self.conn.say(match fault.kind() {
                Kind::Unavailable | Kind::Timeout | Kind::Internal => {
                    control_frames::error(id, "HEALTH_ANALYSIS_ERROR", fault.detail())
                }
                _ => control_frames::fault(id, Some(Topic::Room(room)), &fault),
            });
        }
    }

    /// Returns the id of the message.
    async fn post(&self, room: RoomId, content: String, idempotency_key: String) -> Result<Option<String>, Fault> {
        let caller = self.registration.handle.caller();
        let request =
            pb::PostMessageRequest { room_id: room.to_string(), content, idempotency_key, source: String::new() };
        let posted = self.context.chat.clone().post_message(caller.token.request(request)).await?.into_inner();
        self.context.rooms.typing(room, &caller, false).await;
        Ok(posted.message.map(|message| message.id))
    }
}

/// The `error` frame of a refusal. The socket stays open.
fn refusal(id: Option<&Value>, room: RoomId, fault: &Fault) -> String {
    let code = match fault.kind() {
        Kind::Validation if fault.code() == "VALIDATION" => "MESSAGE_PARSE_ERROR",
        Kind::Unavailable | Kind::Timeout | Kind::Internal => "PROCESSING_ERROR",
        _ => return control_frames::fault(id, Some(Topic::Room(room)), fault),
    };
    let field = fault.fields().first().map(|field| format!("{} {}", field.field, field.message));
    control_frames::error(id, code, &field.unwrap_or_else(|| fault.detail().to_owned()))
}
