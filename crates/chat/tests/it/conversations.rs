//! Creating, listing, reading and changing conversations.

use std::time::Duration;

use turnpike_event::ChatEvent;
use turnpike_fault::Kind;
use turnpike_proto::chat::v1 as pb;
use turnpike_testkit::{Database, eventually, on_both};
use turnpike_token::Role;

use crate::{caller::Caller, world::World};

on_both!(
    a_conversation_begins_with_the_default_title,
    a_repeated_request_creates_one_conversation,
    concurrent_requests_with_one_key_create_one_conversation,
    pinned_conversations_are_listed_first_and_then_the_newest_change,
    others_and_malformed_ids_find_nothing,
    fields_are_validated,
    a_change_is_published_and_keeps_the_other_fields,
);

pub const NOBODY: &str = "0198c1d2-7a3b-7c4d-8e5f-0123456789ab";

async fn a_conversation_begins_with_the_default_title(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    let made = caller.conversation().await;
    assert_eq!((made.title.as_str(), made.pinned, made.temporary), ("New Conversation", false, false));
    assert_eq!((made.persona_id.as_str(), made.leaf_message_id.as_str()), ("", ""));
    assert_eq!(made.user_id, caller.person.user_id.to_string());
    assert_eq!(made.created_at.expect("a time").seconds, 1_763_700_000);
    assert_eq!(caller.get(&made.id).await.expect("the caller's own"), made);
    assert_eq!(caller.titled("  Brakes  ").await.title, "Brakes");
    assert!(caller.texts(&made.id).await.is_empty());
}

async fn a_repeated_request_creates_one_conversation(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    let request = |title: &str| pb::CreateConversationRequest {
        title: title.to_owned(),
        idempotency_key: "one".to_owned(),
        ..Default::default()
    };
    let first = caller.create_conversation(request("Brakes")).await.expect("created");
    assert!(!first.replayed);
    let second = caller.create_conversation(request("Brakes")).await.expect("the first one");
    assert_eq!((second.conversation.clone(), second.replayed), (first.conversation, true));
    let other = caller.create_conversation(request("Clutch")).await.expect_err("another request");
    assert_eq!((other.kind(), other.code()), (Kind::Conflict, "IDEMPOTENCY_KEY_REUSED"));
    let another = Caller::new(world.person(Role::User), &instance);
    assert!(!another.create_conversation(request("Clutch")).await.expect("keys belong to a user").replayed);
    assert_eq!(caller.titles(50).await, ["Brakes"]);

    caller.delete(&second.conversation.expect("a conversation").id).await.expect("deleted");
    let deleted = caller.create_conversation(request("Brakes")).await.expect_err("deleted since");
    assert_eq!(deleted.kind(), Kind::NotFound);
    world.hand.advance(Duration::from_secs(24 * 3600 + 1));
    assert!(!caller.create_conversation(request("Clutch")).await.expect("the key has expired").replayed);
}

async fn concurrent_requests_with_one_key_create_one_conversation(database: Database) {
    let world = World::new(database);
    let (one, two) = (world.start().await, world.start().await);
    let person = world.person(Role::User);
    let callers = [Caller::new(person.clone(), &one), Caller::new(person, &two)];
    let request = pb::CreateConversationRequest { idempotency_key: "k".to_owned(), ..Default::default() };
    let calls = (0..16).map(|n| {
        let (caller, request) = (callers[n % 2].clone(), request.clone());
        tokio::spawn(async move { caller.create_conversation(request).await.expect("an answer") })
    });
    let calls: Vec<_> = calls.collect();
    let (mut ids, mut created) = (Vec::new(), 0);
    for call in calls {
        let answer = call.await.expect("no panic");
        created += usize::from(!answer.replayed);
        ids.push(answer.conversation.expect("a conversation").id);
    }
    ids.dedup();
    assert_eq!((ids.len(), created), (1, 1));
}

async fn pinned_conversations_are_listed_first_and_then_the_newest_change(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    let other = Caller::new(world.person(Role::User), &instance);
    let mut ids = Vec::new();
    for n in 0..7 {
        world.hand.advance(Duration::from_secs(1));
        ids.push(caller.titled(&n.to_string()).await.id);
        other.titled("another user's").await;
    }
    assert_eq!(caller.titles(3).await, ["6", "5", "4", "3", "2", "1", "0"]);
    for n in [2, 0] {
        world.hand.advance(Duration::from_secs(1));
        let request =
            pb::UpdateConversationRequest { conversation_id: ids[n].clone(), pinned: Some(true), ..Default::default() };
        assert!(caller.update_conversation(request).await.expect("changed").pinned);
    }
    world.hand.advance(Duration::from_secs(1));
    world.talk(&ids[3], 1).await; // a message is a change
    for limit in [1, 2, 3, 6, 7, 100] {
        assert_eq!(caller.titles(limit).await, ["0", "2", "3", "6", "5", "4", "1"], "{limit}");
    }
    let cursor = "x".to_owned();
    let refused = caller.list_conversations(pb::ListConversationsRequest { limit: 1, cursor }).await;
    assert_eq!(refused.expect_err("not a cursor").fields()[0].field, "cursor");
}

async fn others_and_malformed_ids_find_nothing(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    let id = caller.conversation().await.id;
    let messages = world.talk(&id, 2).await;
    for (stranger, id) in [
        (Caller::new(world.person(Role::User), &instance), id.as_str()),
        (Caller::new(world.person(Role::Admin), &instance), id.as_str()),
        (caller.clone(), NOBODY),
        (caller.clone(), "no-id"),
        (caller.clone(), ""),
        (caller.clone(), &id.to_uppercase()),
    ] {
        let update =
            pb::UpdateConversationRequest { conversation_id: id.to_owned(), pinned: Some(true), ..Default::default() };
        let list = pb::ListMessagesRequest { conversation_id: id.to_owned(), ..Default::default() };
        let refused = [
            stranger.get(id).await.map(drop),
            stranger.update_conversation(update).await.map(drop),
            stranger.list_messages(list).await.map(drop),
            stranger.select(id, &messages[0]).await.map(drop),
            stranger.export(id, pb::ExportFormat::Json).await.map(drop),
            stranger.delete(id).await,
        ];
        for refused in refused {
            let fault = refused.expect_err(id);
            assert_eq!((fault.kind(), fault.detail()), (Kind::NotFound, "There is no such conversation"), "{id}");
        }
    }
    assert!(!caller.get(&id).await.expect("unchanged").pinned);
}

async fn fields_are_validated(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    let new = |title: &str, persona_id: &str, system_prompt: String| pb::CreateConversationRequest {
        title: title.to_owned(),
        persona_id: persona_id.to_owned(),
        system_prompt,
        idempotency_key: "k".to_owned(),
        ..Default::default()
    };
    let mut requests = vec![
        ("title", new(&"x".repeat(201), "", String::new())),
        ("title", new("two\nlines", "", String::new())),
        ("persona_id", new("", NOBODY, String::new())),
        ("persona_id", new("", "no-id", String::new())),
        ("system_prompt", new("", "", "x".repeat((16 << 10) + 1))),
        ("system_prompt", new("", "", "\0".to_owned())),
    ];
    let mut too_long = new("", "", String::new());
    too_long.idempotency_key = "k".repeat(256);
    requests.push(("Idempotency-Key", too_long));
    for (field, request) in requests {
        let refused = caller.create_conversation(request).await.expect_err(field);
        assert_eq!((refused.kind(), refused.fields()[0].field.as_str()), (Kind::Validation, field));
    }
    assert!(caller.titles(1).await.is_empty(), "nothing was created");
    // A refusal does not use up the key.
    let made =
        caller.create_conversation(new(&"ü".repeat(200), "", "x".repeat(16 << 10))).await.expect("as long as can be");
    let id = made.conversation.expect("a conversation").id;
    let update = |title: Option<&str>, persona_id: Option<&str>| pb::UpdateConversationRequest {
        conversation_id: id.clone(),
        title: title.map(str::to_owned),
        persona_id: persona_id.map(str::to_owned),
        ..Default::default()
    };
    for (field, request) in [
        ("title", update(Some(""), None)),
        ("title", update(Some(" \t "), None)),
        ("title", update(Some(&"x".repeat(201)), None)),
        ("persona_id", update(None, Some(NOBODY))),
    ] {
        let refused = caller.update_conversation(request).await.expect_err(field);
        assert_eq!((refused.kind(), refused.fields()[0].field.as_str()), (Kind::Validation, field));
    }
}

async fn a_change_is_published_and_keeps_the_other_fields(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    let made = caller.conversation().await;
    let unchanged = pb::UpdateConversationRequest { conversation_id: made.id.clone(), ..Default::default() };
    assert_eq!(caller.update_conversation(unchanged.clone()).await.expect("nothing to do"), made);
    world.hand.advance(Duration::from_secs(5));
    let title = Some(" Brakes ".to_owned());
    let renamed = pb::UpdateConversationRequest { title, ..unchanged.clone() };
    let renamed = caller.update_conversation(renamed).await.expect("renamed");
    assert_eq!((renamed.title.as_str(), renamed.pinned), ("Brakes", false));
    assert_eq!(renamed.updated_at.expect("a time").seconds, 1_763_700_005);
    let prompt = pb::UpdateConversationRequest { system_prompt: Some("Be brief.".to_owned()), ..unchanged.clone() };
    let prompted = caller.update_conversation(prompt).await.expect("changed");
    assert_eq!((prompted.title.as_str(), prompted.system_prompt.as_str()), ("Brakes", "Be brief."));
    let pinned = pb::UpdateConversationRequest { pinned: Some(true), ..unchanged };
    let pinned = caller.update_conversation(pinned).await.expect("pinned");
    assert_eq!((pinned.pinned, pinned.system_prompt.as_str()), (true, "Be brief."));
    assert_eq!(caller.get(&made.id).await.expect("the caller's own"), pinned);

    let conversation_id = made.id.parse().expect("an id");
    let last = ChatEvent::Changed { conversation_id, title: "Brakes".to_owned(), pinned: true, leaf_message_id: None };
    eventually("the present values on the topic", 10, || async {
        world.topic(conversation_id).await.last().is_some_and(|(_, event)| *event == last).then_some(())
    })
    .await;
}
