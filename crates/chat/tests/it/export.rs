//! Conversations as documents.

use std::time::Duration;

use serde_json::Value;
use turnpike_fault::Kind;
use turnpike_proto::chat::v1::{self as pb, ExportFormat::Json, ExportFormat::Markdown};
use turnpike_testkit::{Database, on_both};
use turnpike_token::Role;

use crate::{
    caller::{Caller, Row},
    world::World,
};

on_both!(
    a_document_has_the_shown_path,
    a_long_document_comes_in_bounded_parts,
    admins_export_the_conversations_of_all_users_or_of_one,
);

/// One document from its parts.
fn text(parts: &[pb::ExportPart]) -> String {
    let bytes: Vec<u8> = parts.iter().flat_map(|part| part.data.to_vec()).collect();
    String::from_utf8(bytes).expect("UTF-8")
}

async fn a_document_has_the_shown_path(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    let id = caller.titled("Brakes & \"discs\"").await.id;
    let row = |parent, role, version, content| Row { conversation: &id, parent, role, version, content };
    let question = world.store(row("", "user", 1, "Why do\nthey squeal? 🚗")).await;
    world.store(row(&question, "assistant", 1, "Dust.")).await;
    let shown = world.store(row(&question, "assistant", 2, "Worn pads.")).await;
    world
        .execute(&format!(
            "UPDATE messages SET model = 'm', error_message = 'Lost', state = 'error' WHERE id = '{shown}'"
        ))
        .await;

    let parts = caller.export(&id, Json).await.expect("a document");
    assert!(parts.iter().all(|part| part.conversation_id == id && part.user_id == caller.person.user_id.to_string()));
    let document: Value = serde_json::from_str(&text(&parts)).expect("JSON");
    assert_eq!(document["conversation"]["title"], "Brakes & \"discs\"");
    assert_eq!(document["conversation"]["created_at"], "2025-11-21T04:40:00Z");
    let messages = document["messages"].as_array().expect("messages");
    let contents: Vec<_> = messages.iter().map(|message| message["content"].as_str().expect("text")).collect();
    assert_eq!(contents, ["Why do\nthey squeal? 🚗", "Worn pads."]);
    assert_eq!((&messages[1]["version"], &messages[1]["versions"]), (&Value::from(2), &Value::from(2)));
    assert_eq!((&messages[1]["state"], &messages[1]["error_message"]), (&"error".into(), &"Lost".into()));

    let markdown = text(&caller.export(&id, Markdown).await.expect("a document"));
    assert_eq!(
        markdown,
        "# Brakes & \"discs\"\n\nCreated 2025-11-21T04:40:00Z, changed 2025-11-21T04:40:00.003Z.\n\
         \n## User, 2025-11-21T04:40:00.001Z\n\nWhy do\nthey squeal? 🚗\n\
         \n## Assistant (m), 2025-11-21T04:40:00.003Z\n\nWorn pads.\n\n*Lost*\n"
    );
    let empty = caller.conversation().await.id;
    let document: Value =
        serde_json::from_str(&text(&caller.export(&empty, Json).await.expect("a document"))).expect("JSON");
    assert_eq!(document["messages"], Value::Array(Vec::new()));
    let refused = caller.export(&id, pb::ExportFormat::Unspecified).await.expect_err("no format");
    assert_eq!(refused.fields()[0].field, "format");
}

async fn a_long_document_comes_in_bounded_parts(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    let id = caller.conversation().await.id;
    let ids = world.talk(&id, 2_000).await;
    let long = "ü🚗x".repeat(40_000);
    world.store(Row { conversation: &id, parent: &ids[1_999], role: "user", version: 1, content: &long }).await;
    let parts = caller.export(&id, Json).await.expect("a document");
    assert!(parts.len() > 5 && parts.iter().all(|part| !part.data.is_empty() && part.data.len() <= 64 << 10));
    assert!(parts.iter().all(|part| std::str::from_utf8(&part.data).is_ok()), "no character is cut");
    let document: Value = serde_json::from_str(&text(&parts)).expect("JSON");
    let messages = document["messages"].as_array().expect("messages");
    assert_eq!(messages.len(), 2_001);
    for (n, message) in messages[..2_000].iter().enumerate() {
        assert_eq!(message["content"], n.to_string());
    }
    assert_eq!(messages[2_000]["content"], long.as_str());
}

async fn admins_export_the_conversations_of_all_users_or_of_one(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let users = [world.person(Role::User), world.person(Role::User)].map(|person| Caller::new(person, &instance));
    let admin = Caller::new(world.person(Role::Admin), &instance);
    for user in &users {
        for n in 0..60 {
            world.hand.advance(Duration::from_secs(1));
            user.titled(&format!("title {n}")).await;
        }
    }
    let temporary = pb::CreateConversationRequest { temporary: true, ..Default::default() };
    users[0].create_conversation(temporary).await.expect("created");
    let deleted = users[0].conversation().await.id;
    users[0].delete(&deleted).await.expect("deleted");
    let request = pb::ExportAllRequest { format: Markdown.into(), ..Default::default() };
    let refused = users[0].export_all(request.clone()).await.expect_err("needs an admin");
    assert_eq!(refused.kind(), Kind::Forbidden);

    let parts = admin.export_all(request.clone()).await.expect("documents");
    assert_eq!(parts.len(), 120, "each document is one part here");
    let mut owners: Vec<_> = parts.iter().map(|part| part.user_id.clone()).collect();
    owners.dedup();
    assert_eq!(owners.len(), 2, "ordered by user");
    let one = pb::ExportAllRequest { user_id: users[1].person.user_id.to_string(), ..request.clone() };
    assert_eq!(admin.export_all(one.clone()).await.expect("documents").len(), 60);
    let at = |second: i64| Some(prost_types::Timestamp { seconds: 1_763_700_000 + second, nanos: 0 });
    let some = pb::ExportAllRequest { since: at(61), until: at(64), ..request.clone() };
    let parts = admin.export_all(some).await.expect("documents");
    let titles: Vec<_> =
        parts.iter().map(|part| text(std::slice::from_ref(part)).lines().next().map(str::to_owned)).collect();
    assert_eq!(titles, ["# title 0", "# title 1", "# title 2"].map(|title| Some(title.to_owned())));
    let malformed = pb::ExportAllRequest { user_id: "no-id".to_owned(), ..request };
    assert_eq!(admin.export_all(malformed).await.expect_err("no id").fields()[0].field, "user_id");
}
