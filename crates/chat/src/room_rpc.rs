//! The generated trait of rooms: parse, call, convert.

use sha2::{Digest, Sha256};
use tonic::{Request, Response, Status};
use turnpike_bus::Bus;
use turnpike_event::{Body, Event, Level, RoomNotice};
use turnpike_fault::Fault;
use turnpike_identity::{Verifier, caller};
use turnpike_kit::Clock;
use turnpike_proto::{
    chat::v1::{self as pb, room_service_server::RoomService},
    timestamp,
};
use turnpike_store::{Page, Store, idempotency::Key, outbox::Bell};
use turnpike_token::Role as AccountRole;
use turnpike_topic::{RoomId, Topic, UserId};
use uuid::Uuid;

use crate::{
    fields::{invalid, line, required_line},
    insights::{Insights, series},
    room_convert::{
        content, id, role, source, to_pb_member, to_pb_present, to_pb_room, to_pb_room_message, user, visibility,
    },
    rooms::{self, Changes, Edit, Entry, Message, New, Post, Refused, Report, Reported, Room, Visibility},
};

/// Characters of a name and of a description.
const MAX_NAME: usize = 100;
const MAX_DESCRIPTION: usize = 500;
/// Messages of a room that are looked at for the context of a comment.
const CONTEXT_MESSAGES: u32 = 10;
/// Entries of one report of presence.
const MAX_ENTRIES: usize = 500;

pub(crate) struct RoomRpc {
    pub(crate) store: Store,
    pub(crate) bus: Bus,
    pub(crate) clock: Clock,
    pub(crate) verifier: Verifier,
    /// Wakes the publisher of events.
    pub(crate) bell: Bell,
    pub(crate) insights: Insights,
}

impl RoomRpc {
    async fn room(&self, text: &str, user_id: UserId) -> Result<Room, Fault> {
        let id = id(text, Refused::NoRoom)?;
        let found = rooms::get(&self.store, id, user_id).await.map_err(turnpike_store::fault)?;
        found.ok_or_else(|| Refused::NoRoom.into())
    }

    /// The output of a write, after which there may be events to publish.
    fn done<T>(&self, output: Result<Result<T, Refused>, sqlx::Error>) -> Result<T, Fault> {
        let output = output.map_err(turnpike_store::fault)??;
        self.bell.ring();
        Ok(output)
    }

    /// Verifies the token of a user who enters a room. `None`: the token is not valid.
    async fn entry(&self, entry: &pb::PresenceEntry) -> Result<Option<Entry>, Fault> {
        let now = self.clock.now();
        let (Ok(room_id), Ok(user_id)) = (entry.room_id.parse(), entry.user_id.parse::<UserId>()) else {
            return Ok(None);
        };
        let username = match entry.connections {
            0 => "".into(),
            _ => match self.verifier.verify(&entry.access_token, now).await {
                Ok(caller) if caller.claims.user_id == user_id => caller.claims.username,
                Err(turnpike_identity::Refusal::Unavailable) => {
                    return Err(turnpike_identity::Refusal::Unavailable.into());
                }
                Ok(_) | Err(_) => return Ok(None),
            },
        };
        let time = |at: Option<prost_types::Timestamp>| at.and_then(timestamp::from_protobuf).unwrap_or(now);
        let (connected_at, last_seen) = (time(entry.connected_at), time(entry.last_seen));
        Ok(Some(Entry { room_id, user_id, username, connections: entry.connections, connected_at, last_seen }))
    }

    /// Comments on a message about its author's health. What the same author said before is the context.
    async fn comment(&self, message: &Message) {
        if !Insights::is_about_health(&message.content) {
            return;
        }
        let before = rooms::page(&self.store, message.room_id, Some(message.id), CONTEXT_MESSAGES).await;
        // Without the context there is still a comment.
        let before = before.ok().flatten().map(|(messages, _)| messages).unwrap_or_default();
        let own = before.iter().filter(|earlier| earlier.user_id == message.user_id);
        let context = own.map(|earlier| earlier.content.as_str()).collect::<Vec<_>>().join("\n");
        self.insights.comment(message.room_id, message.user_id, message.content.clone(), context);
    }

    /// Tells the others in the room.
    async fn announce(&self, joined: Entry) {
        let content = format!("{} joined the chat", joined.username);
        let notice = RoomNotice::System { about: joined.user_id, content, level: Level::Info };
        let event = Event { at: self.clock.now(), body: Body::Notice(notice) };
        // A notice may be lost: the event `user_joined` is what clients rely on.
        let _ = self.bus.notify(&Topic::Room(joined.room_id), &event.to_bytes()).await;
    }
}

#[tonic::async_trait]
impl RoomService for RoomRpc {
    async fn create_room(
        &self,
        request: Request<pb::CreateRoomRequest>,
    ) -> Result<Response<pb::CreateRoomResponse>, Status> {
        let claims = caller(&request)?.claims.clone();
        let request = request.into_inner();
        let hash = hash(&[
            "room",
            &request.name,
            &request.description,
            &request.visibility,
            if request.insights { "insights" } else { "" },
        ]);
        let new = New {
            user_id: claims.user_id,
            username: claims.username,
            name: required_line("name", &request.name, MAX_NAME)?,
            description: line("description", &request.description, MAX_DESCRIPTION)?,
            visibility: match request.visibility.as_str() {
                "" => Visibility::Private,
                word => visibility(word)?,
            },
            insights: request.insights,
            key: Key::new(claims.user_id, &request.idempotency_key, hash)?,
        };
        let (room, replayed) = self.done(rooms::create(&self.store, new, self.clock.now()).await)?;
        Ok(Response::new(pb::CreateRoomResponse { room: Some(to_pb_room(*room)), replayed }))
    }

    async fn list_rooms(
        &self,
        request: Request<pb::ListRoomsRequest>,
    ) -> Result<Response<pb::ListRoomsResponse>, Status> {
        let user_id = caller(&request)?.claims.user_id;
        let request = request.into_inner();
        let page = Page::<RoomId>::new(request.limit, &request.cursor)?;
        let rows = rooms::list(&self.store, user_id, request.joined, page.cursor, page.rows()).await;
        let (rows, next_cursor) = page.cut(rows.map_err(turnpike_store::fault)?, |room| room.id);
        Ok(Response::new(pb::ListRoomsResponse { rooms: rows.into_iter().map(to_pb_room).collect(), next_cursor }))
    }

    async fn get_room(&self, request: Request<pb::GetRoomRequest>) -> Result<Response<pb::Room>, Status> {
        let user_id = caller(&request)?.claims.user_id;
        Ok(Response::new(to_pb_room(self.room(&request.into_inner().room_id, user_id).await?)))
    }

    async fn update_room(&self, request: Request<pb::UpdateRoomRequest>) -> Result<Response<pb::Room>, Status> {
        let user_id = caller(&request)?.claims.user_id;
        let request = request.into_inner();
        let room_id = id(&request.room_id, Refused::NoRoom)?;
        let changes = Changes {
            name: request.name.map(|name| required_line("name", &name, MAX_NAME)).transpose()?,
            description: request.description.map(|text| line("description", &text, MAX_DESCRIPTION)).transpose()?,
            visibility: request.visibility.map(|word| visibility(&word)).transpose()?,
            insights: request.insights,
        };
        let room = self.done(rooms::update(&self.store, room_id, user_id, changes, self.clock.now()).await)?;
        Ok(Response::new(to_pb_room(*room)))
    }

    async fn delete_room(
        &self,
        request: Request<pb::DeleteRoomRequest>,
    ) -> Result<Response<pb::DeleteRoomResponse>, Status> {
        let user_id = caller(&request)?.claims.user_id;
        let room_id = id(&request.into_inner().room_id, Refused::NoRoom)?;
        self.done(rooms::delete(&self.store, room_id, user_id, self.clock.now()).await)?;
        Ok(Response::new(pb::DeleteRoomResponse {}))
    }

    async fn put_member(&self, request: Request<pb::PutMemberRequest>) -> Result<Response<pb::RoomMember>, Status> {
        let claims = caller(&request)?.claims.clone();
        let request = request.into_inner();
        let room_id = id(&request.room_id, Refused::NoRoom)?;
        let (user_id, role) = (user(&request.user_id, claims.user_id)?, role(&request.role)?);
        let by = rooms::By { user_id: claims.user_id, username: claims.username };
        let member = self.done(rooms::put(&self.store, room_id, by, user_id, role, self.clock.now()).await)?;
        Ok(Response::new(to_pb_member(member)))
    }

    async fn remove_member(
        &self,
        request: Request<pb::RemoveMemberRequest>,
    ) -> Result<Response<pb::RemoveMemberResponse>, Status> {
        let by = caller(&request)?.claims.user_id;
        let request = request.into_inner();
        let room_id = id(&request.room_id, Refused::NoRoom)?;
        let user_id = user(&request.user_id, by)?;
        self.done(rooms::remove(&self.store, room_id, by, user_id, self.clock.now()).await)?;
        Ok(Response::new(pb::RemoveMemberResponse {}))
    }

    async fn list_members(
        &self,
        request: Request<pb::ListMembersRequest>,
    ) -> Result<Response<pb::ListMembersResponse>, Status> {
        let user_id = caller(&request)?.claims.user_id;
        let request = request.into_inner();
        let page = Page::<UserId>::new(request.limit, &request.cursor)?;
        let room = self.room(&request.room_id, user_id).await?;
        let rows = rooms::list_members(&self.store, room.id, page.cursor, page.rows()).await;
        let (rows, next_cursor) = page.cut(rows.map_err(turnpike_store::fault)?, |member| member.user_id);
        let members = rows.into_iter().map(to_pb_member).collect();
        Ok(Response::new(pb::ListMembersResponse { members, next_cursor }))
    }

    async fn post_message(
        &self,
        request: Request<pb::PostMessageRequest>,
    ) -> Result<Response<pb::PostMessageResponse>, Status> {
        let claims = caller(&request)?.claims.clone();
        let request = request.into_inner();
        let mut said = vec!["room message", &request.room_id, &request.content];
        said.extend(Some(request.source.as_str()).filter(|source| !source.is_empty()));
        let hash = hash(&said);
        let post = Post {
            room_id: id(&request.room_id, Refused::NoRoom)?,
            user_id: claims.user_id,
            username: claims.username,
            content: content(&request.content)?,
            source: source(&request.source)?,
            key: Key::new(claims.user_id, &request.idempotency_key, hash)?,
        };
        let (message, replayed, allows_insights) = self.done(rooms::post(&self.store, post, self.clock.now()).await)?;
        if allows_insights && !replayed {
            self.comment(&message).await;
        }
        Ok(Response::new(pb::PostMessageResponse { message: Some(to_pb_room_message(*message)), replayed }))
    }

    async fn analyze_health(
        &self,
        request: Request<pb::AnalyzeHealthRequest>,
    ) -> Result<Response<pb::AnalyzeHealthResponse>, Status> {
        let user_id = caller(&request)?.claims.user_id;
        let request = request.into_inner();
        let room = self.room(&request.room_id, user_id).await?;
        let data_points = u32::try_from(request.data_points.len()).unwrap_or(u32::MAX);
        self.insights.analyze(room.id, user_id, series(request)?)?;
        Ok(Response::new(pb::AnalyzeHealthResponse { data_points }))
    }

    async fn list_room_messages(
        &self,
        request: Request<pb::ListRoomMessagesRequest>,
    ) -> Result<Response<pb::ListRoomMessagesResponse>, Status> {
        let user_id = caller(&request)?.claims.user_id;
        let request = request.into_inner();
        let limit = Page::<u32>::new(request.limit, "")?.rows() - 1;
        let room = self.room(&request.room_id, user_id).await?;
        let not_in_it = || invalid("before", "must be the id of a message of this room");
        let before = match request.before.as_str() {
            "" => None,
            id => Some(id.parse().map_err(|_| not_in_it())?),
        };
        let page = rooms::page(&self.store, room.id, before, limit).await.map_err(turnpike_store::fault)?;
        let (messages, more) = page.ok_or_else(not_in_it)?;
        let messages = messages.into_iter().map(to_pb_room_message).collect();
        Ok(Response::new(pb::ListRoomMessagesResponse { messages, more }))
    }

    async fn edit_message(
        &self,
        request: Request<pb::EditMessageRequest>,
    ) -> Result<Response<pb::RoomMessage>, Status> {
        let user_id = caller(&request)?.claims.user_id;
        let request = request.into_inner();
        let edit = Edit {
            room_id: id(&request.room_id, Refused::NoRoom)?,
            message_id: id(&request.message_id, Refused::NoMessage)?,
            user_id,
            content: Some(content(&request.content)?),
        };
        let message = self.done(rooms::edit(&self.store, edit, self.clock.now()).await)?;
        Ok(Response::new(to_pb_room_message(*message)))
    }

    async fn redact_message(
        &self,
        request: Request<pb::RedactMessageRequest>,
    ) -> Result<Response<pb::RoomMessage>, Status> {
        let user_id = caller(&request)?.claims.user_id;
        let request = request.into_inner();
        let edit = Edit {
            room_id: id(&request.room_id, Refused::NoRoom)?,
            message_id: id(&request.message_id, Refused::NoMessage)?,
            user_id,
            content: None,
        };
        let message = self.done(rooms::edit(&self.store, edit, self.clock.now()).await)?;
        Ok(Response::new(to_pb_room_message(*message)))
    }

    async fn mark_read(&self, request: Request<pb::MarkReadRequest>) -> Result<Response<pb::MarkReadResponse>, Status> {
        let user_id = caller(&request)?.claims.user_id;
        let request = request.into_inner();
        let room_id = id(&request.room_id, Refused::NoRoom)?;
        let offset = request.offset.parse();
        let offset = offset.map_err(|_| invalid("offset", "must be an offset such as 1763700000000-42"))?;
        let unread = self.done(rooms::mark_read(&self.store, room_id, user_id, offset).await)?;
        Ok(Response::new(pb::MarkReadResponse { unread: u64::try_from(unread).unwrap_or_default() }))
    }

    async fn list_present(
        &self,
        request: Request<pb::ListPresentRequest>,
    ) -> Result<Response<pb::ListPresentResponse>, Status> {
        let user_id = caller(&request)?.claims.user_id;
        let request = request.into_inner();
        let page = Page::<UserId>::new(request.limit, &request.cursor)?;
        let room = self.room(&request.room_id, user_id).await?;
        let rows = rooms::list_present(&self.store, room.id, page.cursor, page.rows()).await;
        let (rows, next_cursor) = page.cut(rows.map_err(turnpike_store::fault)?, |user| user.user_id);
        let total = rooms::total(&self.store, room.id).await.map_err(turnpike_store::fault)?;
        let users = rows.into_iter().map(to_pb_present).collect();
        Ok(Response::new(pb::ListPresentResponse { users, next_cursor, total }))
    }

    async fn get_room_stats(
        &self,
        request: Request<pb::GetRoomStatsRequest>,
    ) -> Result<Response<pb::RoomStats>, Status> {
        let claims = &caller(&request)?.claims;
        let user = (claims.role < AccountRole::Admin).then_some(claims.user_id);
        let stats = rooms::stats(&self.store, user).await.map_err(turnpike_store::fault)?;
        let rooms = stats.rooms.into_iter().collect();
        Ok(Response::new(pb::RoomStats { total_users: stats.users, total_connections: stats.connections, rooms }))
    }

    async fn report_presence(
        &self,
        request: Request<pb::ReportPresenceRequest>,
    ) -> Result<Response<pb::ReportPresenceResponse>, Status> {
        let request = request.into_inner();
        if request.gateway_id.parse::<Uuid>().is_err() {
            return Err(invalid("gateway_id", "must be a random UUID").into());
        }
        if request.entries.len() > MAX_ENTRIES {
            return Err(invalid("entries", format!("must be at most {MAX_ENTRIES}")).into());
        }
        let (mut entries, mut refused) = (Vec::with_capacity(request.entries.len()), Vec::new());
        for entry in request.entries {
            match self.entry(&entry).await? {
                Some(valid) => entries.push(valid),
                None => refused.push(pb::PresenceEntry { access_token: String::new(), ..entry }),
            }
        }
        let (gateway_id, begin, leaving) = (request.gateway_id, request.begin, request.leaving);
        let report = Report { gateway_id, entries, begin, leaving };
        let reported = rooms::report(&self.store, report, self.clock.now()).await.map_err(turnpike_store::fault)?;
        self.bell.ring();
        let Reported::Taken { joined, refused: unseen } = reported else {
            return Ok(Response::new(pb::ReportPresenceResponse { unknown: true, refused: Vec::new() }));
        };
        futures_util::future::join_all(joined.into_iter().map(|joined| self.announce(joined))).await;
        refused.extend(unseen.into_iter().map(|entry| pb::PresenceEntry {
            room_id: entry.room_id.to_string(),
            user_id: entry.user_id.to_string(),
            ..Default::default()
        }));
        Ok(Response::new(pb::ReportPresenceResponse { unknown: false, refused }))
    }
}

/// Equal requests have equal hashes. Lengths keep the fields apart.
fn hash(fields: &[&str]) -> String {
    let mut digest = Sha256::new();
    for field in fields {
        digest.update(field.len().to_le_bytes());
        digest.update(field);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
