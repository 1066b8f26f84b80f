//! The chat service, as its clients here call it: with the access token of a session's owner.

use std::time::Duration;

use turnpike_fault::{Fault, Kind};
use turnpike_identity::AccessToken;
use turnpike_proto::chat::v1::{
    GetRoomRequest, PostMessageRequest, TranslateRequest, model_service_client::ModelServiceClient,
    room_service_client::RoomServiceClient,
};
use turnpike_rpc::Transport;
use turnpike_topic::{CaptionsSessionId, RoomId, Topic};

/// How long a translation may take; the chat service has a shorter bound of its own.
const TRANSLATION: Duration = Duration::from_secs(25);
/// Characters of a message of a room.
const MAX_MESSAGE: usize = 2000;

#[derive(Clone)]
pub(crate) struct Chat {
    models: ModelServiceClient<Transport>,
    rooms: RoomServiceClient<Transport>,
}

impl Chat {
    pub(crate) fn new(transport: Transport) -> Self {
        let models = ModelServiceClient::new(transport.clone().deadline(TRANSLATION));
        Self { models, rooms: RoomServiceClient::new(transport) }
    }

    pub(crate) async fn translate(&self, token: &AccessToken, text: String, into: String) -> Result<String, Fault> {
        let request = token.request(TranslateRequest { text, into });
        Ok(self.models.clone().translate(request).await?.into_inner().text)
    }

    /// Refuses unless the caller is a member of the room.
    pub(crate) async fn require_member(&self, token: &AccessToken, room: RoomId) -> Result<(), Fault> {
        let request = token.request(GetRoomRequest { room_id: room.to_string() });
        match self.rooms.clone().get_room(request).await?.into_inner().role.is_empty() {
            false => Ok(()),
            true => Err(Fault::new(Kind::Forbidden, "Join the room first: only its members publish captions in it")),
        }
    }

    /// Publishes a final in a room. A repeated call publishes it once.
    pub(crate) async fn post(
        &self,
        token: &AccessToken,
        room: RoomId,
        session: CaptionsSessionId,
        (segment, text): (u64, &str),
    ) -> Result<(), Fault> {
        let request = PostMessageRequest {
            room_id: room.to_string(),
            content: text.chars().take(MAX_MESSAGE).collect(),
            idempotency_key: format!("captions-{session}-{segment}"),
            source: Topic::Captions(session).to_string(),
        };
        self.rooms.clone().post_message(token.request(request)).await?;
        Ok(())
    }
}
