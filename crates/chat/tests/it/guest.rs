//! A caller of the service for rooms, and the events of rooms.

use turnpike_bus::Bus;
use turnpike_event::{Body, Event, RoomEvent};
use turnpike_fault::Fault;
use turnpike_proto::chat::v1::{self as pb, room_service_client::RoomServiceClient};
use turnpike_rpc::Transport;
use turnpike_testkit::eventually;
use turnpike_token::Role;
use turnpike_topic::{Offset, Topic};

use crate::world::{Instance, Person, World};

#[derive(Clone)]
pub struct Guest {
    pub person: Person,
    client: RoomServiceClient<Transport>,
}

macro_rules! calls {
    ($($method:ident($request:ty) -> $response:ty;)*) => {
        $(pub async fn $method(&self, request: $request) -> Result<$response, Fault> {
            Ok(self.client.clone().$method(self.person.token.request(request)).await?.into_inner())
        })*
    };
}

impl Guest {
    pub fn new(world: &World, instance: &Instance) -> Self {
        Self { person: world.person(Role::User), client: RoomServiceClient::new(instance.transport()) }
    }

    /// The same user as a caller of another instance.
    pub fn at(&self, instance: &Instance) -> Self {
        Self { person: self.person.clone(), client: RoomServiceClient::new(instance.transport()) }
    }

    calls! {
        create_room(pb::CreateRoomRequest) -> pb::CreateRoomResponse;
        list_rooms(pb::ListRoomsRequest) -> pb::ListRoomsResponse;
        update_room(pb::UpdateRoomRequest) -> pb::Room;
        post_message(pb::PostMessageRequest) -> pb::PostMessageResponse;
        analyze_health(pb::AnalyzeHealthRequest) -> pb::AnalyzeHealthResponse;
        list_room_messages(pb::ListRoomMessagesRequest) -> pb::ListRoomMessagesResponse;
        list_present(pb::ListPresentRequest) -> pb::ListPresentResponse;
        get_room_stats(pb::GetRoomStatsRequest) -> pb::RoomStats;
        report_presence(pb::ReportPresenceRequest) -> pb::ReportPresenceResponse;
        list_members(pb::ListMembersRequest) -> pb::ListMembersResponse;
    }

    pub fn id(&self) -> String {
        self.person.user_id.to_string()
    }

    pub async fn room(&self, visibility: &str) -> String {
        let request =
            pb::CreateRoomRequest { name: "Workshop".into(), visibility: visibility.into(), ..Default::default() };
        self.create_room(request).await.expect("created").room.expect("a room").id
    }

    pub async fn get(&self, room: &str) -> Result<pb::Room, Fault> {
        let request = pb::GetRoomRequest { room_id: room.into() };
        Ok(self.client.clone().get_room(self.person.token.request(request)).await?.into_inner())
    }

    pub async fn put(&self, room: &str, user: &str, role: &str) -> Result<pb::RoomMember, Fault> {
        let request = pb::PutMemberRequest { room_id: room.into(), user_id: user.into(), role: role.into() };
        Ok(self.client.clone().put_member(self.person.token.request(request)).await?.into_inner())
    }

    pub async fn remove(&self, room: &str, user: &str) -> Result<(), Fault> {
        let request = pb::RemoveMemberRequest { room_id: room.into(), user_id: user.into() };
        self.client.clone().remove_member(self.person.token.request(request)).await?;
        Ok(())
    }

    pub async fn delete(&self, room: &str) -> Result<(), Fault> {
        let request = pb::DeleteRoomRequest { room_id: room.into() };
        self.client.clone().delete_room(self.person.token.request(request)).await?;
        Ok(())
    }

    pub async fn say(&self, room: &str, content: &str) -> Result<pb::RoomMessage, Fault> {
        let request = pb::PostMessageRequest { room_id: room.into(), content: content.into(), ..Default::default() };
        Ok(self.post_message(request).await?.message.expect("a message"))
    }

    pub async fn edit(&self, room: &str, message: &str, content: &str) -> Result<pb::RoomMessage, Fault> {
        let request =
            pb::EditMessageRequest { room_id: room.into(), message_id: message.into(), content: content.into() };
        Ok(self.client.clone().edit_message(self.person.token.request(request)).await?.into_inner())
    }

    pub async fn redact(&self, room: &str, message: &str) -> Result<pb::RoomMessage, Fault> {
        let request = pb::RedactMessageRequest { room_id: room.into(), message_id: message.into() };
        Ok(self.client.clone().redact_message(self.person.token.request(request)).await?.into_inner())
    }

    pub async fn read(&self, room: &str, offset: &str) -> Result<u64, Fault> {
        let request = pb::MarkReadRequest { room_id: room.into(), offset: offset.into() };
        Ok(self.client.clone().mark_read(self.person.token.request(request)).await?.into_inner().unread)
    }
}

/// The events on a topic.
pub async fn events(bus: &Bus, topic: Topic) -> Vec<(Offset, RoomEvent)> {
    let page = bus.read(&topic, None, 1000).await.expect("a bus");
    let event = |record: turnpike_bus::Record| match Event::from_bytes(record.event).body {
        Body::Room(event) => (record.offset, event),
        other => panic!("{other:?}"),
    };
    page.records.into_iter().map(event).collect()
}

pub fn topic(room: &str) -> Topic {
    Topic::Room(room.parse().expect("an id"))
}

/// Waits until a topic has this many events.
pub async fn published(world: &World, topic: Topic, count: usize) -> Vec<(Offset, RoomEvent)> {
    eventually("events of a room", 10, || async {
        let events = events(&world.bus, topic).await;
        (events.len() >= count).then_some(events)
    })
    .await
}
