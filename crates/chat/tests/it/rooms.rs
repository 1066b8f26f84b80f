//! Rooms: who sees them, who may do what, messages and their events.

use std::time::Duration;

use turnpike_bus::{Bus, Limits};
use turnpike_event::RoomEvent;
use turnpike_fault::{Fault, Kind};
use turnpike_proto::chat::v1 as pb;
use turnpike_testkit::{Database, eventually, on_both};
use turnpike_topic::Topic;

use crate::{
    guest::{Guest, events, published, topic},
    world::World,
};

on_both!(
    a_private_room_exists_only_for_its_members,
    a_public_room_is_seen_and_joined_by_everyone,
    each_role_may_do_its_part,
    a_message_is_stored_once_and_published_once,
    captions_are_labelled_and_make_nobody_a_member,
    messages_come_in_pages_and_are_edited_and_redacted_as_events,
    unread_messages_are_counted_for_each_member,
    a_mention_reaches_the_named_member_only,
    a_deleted_room_is_gone_and_its_topic_is_closed,
    events_that_were_published_before_a_crash_are_not_published_again,
);

async fn a_private_room_exists_only_for_its_members(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let (ada, bob) = (Guest::new(&world, &instance), Guest::new(&world, &instance));
    let room = ada.room("").await;
    let seen = ada.get(&room).await.expect("the owner's");
    assert_eq!((seen.name.as_str(), seen.visibility.as_str(), seen.role.as_str()), ("Workshop", "private", "owner"));
    for room in [room.as_str(), "no-id", "", "0198c1d2-7a3b-7c4d-8e5f-0123456789ab"] {
        let list = pb::ListRoomMessagesRequest { room_id: room.into(), ..Default::default() };
        let present = pb::ListPresentRequest { room_id: room.into(), ..Default::default() };
        for refused in [
            bob.get(room).await.map(drop),
            bob.say(room, "hello").await.map(drop),
            bob.put(room, "", "").await.map(drop),
            bob.remove(room, "").await.map(drop),
            bob.delete(room).await,
            bob.read(room, "1-1").await.map(drop),
            bob.list_room_messages(list).await.map(drop),
            bob.list_present(present).await.map(drop),
        ] {
            let fault = refused.expect_err(room);
            assert_eq!((fault.kind(), fault.detail()), (Kind::NotFound, "There is no such room"));
        }
    }
    assert!(bob.list_rooms(Default::default()).await.expect("a list").rooms.is_empty());
    ada.put(&room, &bob.id(), "").await.expect("added");
    assert_eq!(bob.get(&room).await.expect("a member's").role, "member");
    assert_eq!(bob.list_rooms(Default::default()).await.expect("a list").rooms.len(), 1);
    bob.remove(&room, "").await.expect("left");
    assert_eq!(bob.get(&room).await.expect_err("left").kind(), Kind::NotFound);
}

async fn a_public_room_is_seen_and_joined_by_everyone(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let (ada, bob) = (Guest::new(&world, &instance), Guest::new(&world, &instance));
    let mut ids = Vec::new();
    for _ in 0..5 {
        world.hand.advance(Duration::from_secs(1));
        ids.insert(0, ada.room("public").await);
        ada.room("private").await;
    }
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = bob.list_rooms(pb::ListRoomsRequest { limit: 2, cursor, joined: false }).await.expect("a page");
        listed.extend(page.rooms.into_iter().map(|room| room.id));
        cursor = page.next_cursor;
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(listed, ids, "newest first");
    let joined = pb::ListRoomsRequest { joined: true, ..Default::default() };
    assert!(bob.list_rooms(joined.clone()).await.expect("a list").rooms.is_empty());
    assert_eq!(bob.put(&ids[0], "", "").await.expect("joined").role, "member");
    assert_eq!(bob.list_rooms(joined.clone()).await.expect("a list").rooms.len(), 1);
    assert_eq!(bob.get(&ids[0]).await.expect("public").members, 2);
    bob.say(&ids[1], "hello").await.expect("who writes becomes a member");
    assert_eq!(bob.list_rooms(joined).await.expect("a list").rooms.len(), 2);
    bob.put(&ids[2], "", "owner").await.expect_err("a member cannot become an owner alone");
}

async fn each_role_may_do_its_part(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let [ada, mod_, bob, eve] = std::array::from_fn(|_| Guest::new(&world, &instance));
    let room = ada.room("private").await;
    ada.put(&room, &mod_.id(), "moderator").await.expect("an owner makes a moderator");
    mod_.put(&room, &bob.id(), "").await.expect("a moderator adds a member");
    let forbidden = |refused: Result<(), Fault>| assert_eq!(refused.expect_err("refused").kind(), Kind::Forbidden);
    forbidden(bob.put(&room, &eve.id(), "").await.map(drop));
    forbidden(bob.put(&room, "", "owner").await.map(drop));
    forbidden(mod_.put(&room, &bob.id(), "moderator").await.map(drop));
    forbidden(mod_.put(&room, "", "owner").await.map(drop));
    forbidden(mod_.remove(&room, &ada.id()).await);
    forbidden(mod_.delete(&room).await);
    let rename = pb::UpdateRoomRequest { room_id: room.clone(), name: Some("Garage".into()), ..Default::default() };
    forbidden(mod_.update_room(rename.clone()).await.map(drop));
    assert_eq!(ada.update_room(rename).await.expect("renamed").name, "Garage");
    let last = ada.remove(&room, "").await.expect_err("the last owner");
    assert_eq!((last.kind(), last.code()), (Kind::Conflict, "LAST_OWNER"));
    assert_eq!(ada.put(&room, "", "member").await.expect_err("the last owner").code(), "LAST_OWNER");
    let said = bob.say(&room, "hello").await.expect("a member writes");
    forbidden(eve_in(&ada, &room, &eve).await.edit(&room, &said.id, "bye").await.map(drop));
    assert_eq!(mod_.edit(&room, &said.id, "edited").await.expect("a moderator edits").content, "edited");
    mod_.remove(&room, &bob.id()).await.expect("a moderator removes a member");
    assert_eq!(bob.get(&room).await.expect_err("removed").kind(), Kind::NotFound);
    ada.put(&room, &mod_.id(), "owner").await.expect("another owner");
    ada.remove(&room, "").await.expect("now the first one may leave");
}

async fn eve_in(owner: &Guest, room: &str, eve: &Guest) -> Guest {
    owner.put(room, &eve.id(), "").await.expect("added");
    eve.clone()
}

async fn a_message_is_stored_once_and_published_once(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let ada = Guest::new(&world, &instance);
    let room = ada.room("public").await;
    let request = |content: &str| pb::PostMessageRequest {
        room_id: room.clone(),
        content: content.into(),
        idempotency_key: "one".into(),
        source: String::new(),
    };
    let calls = (0..8).map(|_| {
        let (ada, request) = (ada.clone(), request("  hello "));
        tokio::spawn(async move { ada.post_message(request).await.expect("an answer") })
    });
    let mut created = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        created.push(call.await.expect("no panic"));
    }
    assert_eq!(created.iter().filter(|answer| !answer.replayed).count(), 1);
    let id = created[0].message.as_ref().expect("a message").id.clone();
    assert!(created.iter().all(|answer| answer.message.as_ref().is_some_and(|message| message.id == id)));
    let other = ada.post_message(request("bye")).await.expect_err("another message");
    assert_eq!((other.kind(), other.code()), (Kind::Conflict, "IDEMPOTENCY_KEY_REUSED"));
    for content in ["", "   ", "a\0b", &"x".repeat(2001)] {
        let fault = ada.say(&room, content).await.expect_err("not valid");
        assert_eq!((fault.kind(), fault.fields()[0].field.as_str()), (Kind::Validation, "content"));
    }
    ada.say(&room, &"é".repeat(2000)).await.expect("the longest one");
    let events = published(&world, topic(&room), 2).await;
    let RoomEvent::Message { message_id, user_id, username, content, .. } = &events[0].1 else {
        panic!("{events:?}");
    };
    assert_eq!((message_id.to_string(), *user_id, content.as_str()), (id.clone(), ada.person.user_id, "hello"));
    assert!(username.starts_with("user-"));
    assert_eq!(events.len(), 2);
    let page = eventually("the offset of the message", 10, || async {
        let list = pb::ListRoomMessagesRequest { room_id: room.clone(), ..Default::default() };
        let page = ada.list_room_messages(list).await.expect("a page");
        page.messages.iter().all(|message| !message.offset.is_empty()).then_some(page)
    })
    .await;
    assert_eq!(page.messages[0].offset, events[0].0.to_string());
}

async fn captions_are_labelled_and_make_nobody_a_member(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let (ada, bob) = (Guest::new(&world, &instance), Guest::new(&world, &instance));
    let room = ada.room("public").await;
    let source = "captions:01931d2e-9f6a-7000-8000-000000000000";
    let caption = |source: &str| pb::PostMessageRequest {
        room_id: room.clone(),
        content: "Good morning.".into(),
        idempotency_key: "one".into(),
        source: source.into(),
    };
    let refused = bob.post_message(caption(source)).await.expect_err("no member");
    assert_eq!(refused.kind(), Kind::Forbidden);
    assert_eq!(bob.get(&room).await.expect("public").role, "", "a caption joins no room");
    for other in ["room:01931d2e-9f6a-7000-8000-000000000000", "captions:x", "<b>"] {
        let fault = ada.post_message(caption(other)).await.expect_err("no captions");
        assert_eq!((fault.kind(), fault.fields()[0].field.as_str()), (Kind::Validation, "source"));
    }
    for replayed in [false, true] {
        let answer = ada.post_message(caption(source)).await.expect("stored");
        assert_eq!((answer.replayed, answer.message.expect("a message").source.as_str()), (replayed, source));
    }
    assert_eq!(ada.post_message(caption("")).await.expect_err("another message").code(), "IDEMPOTENCY_KEY_REUSED");
    bob.put(&room, "", "").await.expect("joined");
    bob.post_message(caption(source)).await.expect("a member's");
    bob.say(&room, "I wrote this.").await.expect("stored");
    let list = pb::ListRoomMessagesRequest { room_id: room.clone(), ..Default::default() };
    let page = ada.list_room_messages(list).await.expect("a page").messages;
    assert_eq!(page.iter().map(|message| message.source.as_str()).collect::<Vec<_>>(), [source, source, ""]);
    let events = published(&world, topic(&room), 4).await;
    let sources = events.iter().filter_map(|(_, event)| match event {
        RoomEvent::Message { source, .. } => Some(source.as_str()),
        _ => None,
    });
    assert_eq!(sources.collect::<Vec<_>>(), [source, source, ""]);
}

async fn messages_come_in_pages_and_are_edited_and_redacted_as_events(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let (ada, bob) = (Guest::new(&world, &instance), Guest::new(&world, &instance));
    let room = ada.room("public").await;
    let mut said = Vec::new();
    for n in 0..7 {
        said.push(ada.say(&room, &n.to_string()).await.expect("said").id);
    }
    let (mut pages, mut before) = (Vec::new(), String::new());
    loop {
        let request = pb::ListRoomMessagesRequest { room_id: room.clone(), before, limit: 3 };
        let page = bob.list_room_messages(request).await.expect("a page");
        pages.push(page.messages.iter().map(|message| message.content.clone()).collect::<Vec<_>>().concat());
        before = page.messages[0].id.clone();
        if !page.more {
            break;
        }
    }
    assert_eq!(pages, ["456", "123", "0"]);
    bob.put(&room, "", "").await.expect("joined");
    let refused = bob.edit(&room, &said[0], "bye").await.expect_err("another's");
    assert_eq!(refused.kind(), Kind::Forbidden);
    let edited = ada.edit(&room, &said[0], "zero").await.expect("edited");
    assert!(edited.edited_at.is_some() && edited.content == "zero");
    let redacted = ada.redact(&room, &said[1]).await.expect("redacted");
    assert!(redacted.redacted_at.is_some() && redacted.content.is_empty());
    assert_eq!(ada.redact(&room, &said[1]).await.expect("redacted before"), redacted);
    assert_eq!(ada.edit(&room, &said[1], "x").await.expect_err("redacted").kind(), Kind::NotFound);
    let events = published(&world, topic(&room), 10).await;
    let kinds = events.iter().map(|(_, event)| match event {
        RoomEvent::Message { .. } => "message",
        RoomEvent::Member { .. } => "member",
        RoomEvent::Edited { content, .. } if content == "zero" => "edited",
        RoomEvent::Redacted { .. } => "redacted",
        other => panic!("{other:?}"),
    });
    let mut expected = vec!["message"; 7];
    expected.extend(["member", "edited", "redacted"]);
    assert_eq!(kinds.collect::<Vec<_>>(), expected);
}

async fn unread_messages_are_counted_for_each_member(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let (ada, bob) = (Guest::new(&world, &instance), Guest::new(&world, &instance));
    let room = ada.room("public").await;
    ada.say(&room, "before").await.expect("said");
    bob.put(&room, "", "").await.expect("joined");
    for n in 0..3 {
        ada.say(&room, &n.to_string()).await.expect("said");
    }
    let unread = async |guest: &Guest| guest.get(&room).await.expect("public").unread;
    assert_eq!((unread(&ada).await, unread(&bob).await), (0, 3), "authors have read what they wrote");
    let offsets = eventually("offsets", 10, || async {
        let list = pb::ListRoomMessagesRequest { room_id: room.clone(), ..Default::default() };
        let page = ada.list_room_messages(list).await.expect("a page");
        let offsets: Vec<_> = page.messages.into_iter().map(|message| message.offset).collect();
        offsets.iter().all(|offset| !offset.is_empty()).then_some(offsets)
    })
    .await;
    assert_eq!(bob.read(&room, &offsets[2]).await.expect("marked"), 1);
    assert_eq!(bob.read(&room, &offsets[1]).await.expect("never back"), 1);
    assert_eq!(unread(&bob).await, 1);
    assert_eq!(bob.read(&room, "9999999999999-1").await.expect("everything"), 0);
    assert_eq!(bob.read(&room, "x").await.expect_err("no offset").fields()[0].field, "offset");
}

async fn a_mention_reaches_the_named_member_only(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let [ada, bob, eve] = std::array::from_fn(|_| Guest::new(&world, &instance));
    let room = ada.room("public").await;
    bob.put(&room, "", "").await.expect("joined");
    let name = |guest: &Guest| format!("user-{}", &guest.id()[24..]);
    let text = format!("@{} and @{} and @{}: hello", name(&bob), name(&eve), name(&ada));
    let said = ada.say(&room, &text).await.expect("said");
    let mentions = published(&world, Topic::User(bob.person.user_id), 1).await;
    let RoomEvent::Mention { message_id, user_id, .. } = &mentions[0].1 else { panic!("{mentions:?}") };
    assert_eq!((message_id.to_string(), *user_id), (said.id, ada.person.user_id));
    for other in [&ada, &eve] {
        assert!(events(&world.bus, Topic::User(other.person.user_id)).await.is_empty(), "no member, or the author");
    }
}

async fn a_deleted_room_is_gone_and_its_topic_is_closed(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let ada = Guest::new(&world, &instance);
    let room = ada.room("public").await;
    ada.say(&room, "hello").await.expect("said");
    ada.delete(&room).await.expect("deleted");
    assert_eq!(ada.get(&room).await.expect_err("deleted").kind(), Kind::NotFound);
    let events = published(&world, topic(&room), 2).await;
    assert!(matches!(events[1].1, RoomEvent::Deleted { .. }));
    eventually("the topic to be closed", 10, || async {
        let page = world.bus.read(&topic(&room), None, 10).await.expect("a bus");
        page.state.is_some_and(|state| state.closed).then_some(())
    })
    .await;
    eventually("rows to be removed", 20, || async {
        world.hand.advance(Duration::from_secs(10));
        (world.count("SELECT COUNT(*) FROM rooms").await == 0).then_some(())
    })
    .await;
    assert_eq!(world.count("SELECT COUNT(*) FROM room_messages").await, 0);
}

/// A publisher that stopped between the publish and the removal of the row leaves a row whose event is on the topic.
async fn events_that_were_published_before_a_crash_are_not_published_again(database: Database) {
    let world = World::on(database, Bus::memory(Limits::default()));
    let first = world.start().await;
    let ada = Guest::new(&world, &first);
    let room = ada.room("public").await;
    ada.say(&room, "one").await.expect("said");
    published(&world, topic(&room), 1).await;
    eventually("the outbox to be empty", 10, || async {
        (world.count("SELECT COUNT(*) FROM room_outbox").await == 0).then_some(())
    })
    .await;
    first.kill();
    // The rows of a second message, whose event the killed process has published.
    let page = world.bus.read(&topic(&room), None, 10).await.expect("a bus");
    let hex: String = page.records[0].event.iter().map(|byte| format!("{byte:02x}")).collect();
    let blob = if world.database().url().starts_with("sqlite") { format!("x'{hex}'") } else { format!("'\\x{hex}'") };
    let insert =
        format!("INSERT INTO room_outbox (topic, message_id, event, is_final) VALUES ('room:{room}', NULL, {blob}, 0)");
    world.execute(&insert).await;
    world.hand.advance(Duration::from_secs(6)); // the lease of the killed process ends
    let second = world.start().await;
    let ada = ada.at(&second);
    ada.say(&room, "two").await.expect("said");
    eventually("the outbox to be empty", 10, || async {
        (world.count("SELECT COUNT(*) FROM room_outbox").await == 0).then_some(())
    })
    .await;
    assert_eq!(events(&world.bus, topic(&room)).await.len(), 2);
}
