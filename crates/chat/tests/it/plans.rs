//! Query plans: no statement of this service reads every row of a table that grows.

use std::time::Duration;

use turnpike_proto::chat::v1 as pb;
use turnpike_testkit::{Database, Statements, eventually, on_both};
use turnpike_token::Role;

use crate::{caller::Caller, world::World};

on_both!(no_statement_reads_a_whole_table);

async fn no_statement_reads_a_whole_table(database: Database) {
    let statements = Statements::capture();
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::Admin), &instance);
    let persona = pb::CreatePersonaRequest { name: "Teacher".to_owned(), ..Default::default() };
    let persona = caller.new_persona(persona).await.id;
    let rename = pb::UpdatePersonaRequest { persona_id: persona.clone(), ..Default::default() };
    caller.update_persona(rename).await.expect("changed");
    let request = pb::CreateConversationRequest {
        title: "Brakes".to_owned(),
        persona_id: persona.clone(),
        idempotency_key: "k".to_owned(),
        ..Default::default()
    };
    caller.create_conversation(request.clone()).await.expect("created");
    let id = caller.create_conversation(request).await.expect("replayed").conversation.expect("a conversation").id;
    let temporary = pb::CreateConversationRequest { temporary: true, ..Default::default() };
    caller.create_conversation(temporary).await.expect("created");
    assert_eq!(caller.titles(1).await.len(), 2);
    let ids = world.talk(&id, 700).await;
    for before in ["", &ids[300]] {
        let (conversation_id, before) = (id.clone(), before.to_owned());
        let request = pb::ListMessagesRequest { conversation_id, before, ..Default::default() };
        caller.list_messages(request).await.expect("a page");
    }
    caller.select(&id, &ids[5]).await.expect("shown");
    let title = Some("Brakes of a Golf".to_owned());
    let change = pb::UpdateConversationRequest { conversation_id: id.clone(), title, ..Default::default() };
    caller.update_conversation(change).await.expect("changed");
    for cursor in ["", "1000"] {
        let request = pb::SearchRequest { query: "brak".to_owned(), cursor: cursor.to_owned(), limit: 0 };
        assert_eq!(caller.search(request).await.expect("results").results.len(), 1);
    }
    caller.export(&id, pb::ExportFormat::Json).await.expect("a document");
    for user_id in [String::new(), caller.person.user_id.to_string()] {
        let request = pb::ExportAllRequest { user_id, format: pb::ExportFormat::Markdown.into(), ..Default::default() };
        caller.export_all(request).await.expect("documents");
    }
    assert_eq!(caller.personas().await.len(), 1);
    caller.delete_persona(&persona).await.expect("deleted");
    caller.delete(&id).await.expect("deleted");
    eventually("everything to be removed", 30, || async {
        world.hand.advance(Duration::from_secs(3600));
        let left = "SELECT (SELECT COUNT(*) FROM conversations) + (SELECT COUNT(*) FROM idempotency_keys)
                    + (SELECT COUNT(*) FROM unpublished_changes)";
        (world.count(left).await == 0).then_some(())
    })
    .await;
    instance.stop().await;

    let wanted = [
        "ORDER BY pinned DESC",
        "WITH RECURSIVE path",
        "FROM search_entries",
        "DELETE FROM messages WHERE id IN",
        "UPDATE unpublished_changes SET claimed_until",
        "DELETE FROM idempotency_keys",
    ];
    // It holds only changes that are not published yet, and the statements have limits.
    let bounded = ["FROM unpublished_changes WHERE claimed_until < "];
    statements.assert_indexed(world.database(), &wanted, &bounded).await;
}
