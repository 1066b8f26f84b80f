//! Deleted conversations, and temporary ones after their time.

use std::time::Duration;

use turnpike_bus::{Bus, Limits};
use turnpike_event::ChatEvent;
use turnpike_proto::{
    chat::v1 as pb,
    topic::v1::{self as topic, topic_owner_client::TopicOwnerClient},
};
use turnpike_testkit::{Database, RedisServer, eventually, on_both};
use turnpike_token::Role;
use turnpike_topic::{ConversationId, Topic};

use crate::{caller::Caller, world::World};

on_both!(
    a_deleted_conversation_is_gone_and_its_topic_is_closed,
    a_running_answer_is_removed_with_its_conversation,
    a_long_conversation_disappears_at_once_and_is_removed_in_steps,
    events_of_changes_survive_an_outage_of_the_bus_and_a_restart,
    a_temporary_conversation_is_removed_a_day_after_its_last_change,
);

/// Waits until the topic of a conversation is closed by its deletion.
async fn until_closed(world: &World, conversation_id: ConversationId) {
    eventually("the final event", 20, || async {
        let topic = world.topic(conversation_id).await;
        let last = topic.last().map(|(_, event)| event.clone());
        (last == Some(ChatEvent::Deleted { conversation_id })).then_some(())
    })
    .await;
    let page = world.bus.read(&Topic::Conversation(conversation_id), None, 1000).await.expect("a bus");
    assert!(page.records.last().expect("events").is_final);
}

async fn a_deleted_conversation_is_gone_and_its_topic_is_closed(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    let (id, kept) = (caller.titled("Brakes").await.id, caller.titled("Brakes").await.id);
    world.talk(&id, 4).await;
    world.talk(&kept, 3).await;
    caller.delete(&id).await.expect("deleted");
    assert!(caller.get(&id).await.is_err() && caller.delete(&id).await.is_err());
    assert_eq!(caller.titles(50).await.len(), 1);
    let found = caller.search(pb::SearchRequest { query: "brakes".to_owned(), ..Default::default() }).await;
    let found: Vec<_> = found.expect("results").results.into_iter().map(|hit| hit.conversation_id).collect();
    assert_eq!(found, [kept]);
    let mut topics = TopicOwnerClient::new(instance.transport());
    let request = topic::AuthorizeRequest { topic: format!("conversation:{id}") };
    topics.authorize(caller.person.token.request(request)).await.expect_err("nobody may follow it any more");
    until_closed(&world, id.parse().expect("an id")).await;
    assert_eq!(world.count("SELECT COUNT(*) FROM messages").await, 3);
    assert_eq!(world.count("SELECT COUNT(*) FROM conversations").await, 1);
    assert_eq!(world.count("SELECT COUNT(*) FROM search_entries").await, 1);
    eventually("every change to be published", 10, || async {
        (world.count("SELECT COUNT(*) FROM unpublished_changes").await == 0).then_some(())
    })
    .await;
}

async fn a_running_answer_is_removed_with_its_conversation(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    let id = caller.conversation().await.id;
    let ids = world.talk(&id, 700).await;
    world
        .execute(&format!(
            "INSERT INTO open_answers (message_id, conversation_id, user_id, api_key_id, lease_until, fence, ended)
             VALUES ('{}', '{id}', '{}', '', {}, 1, 0)",
            ids[100],
            caller.person.user_id,
            i64::MAX
        ))
        .await;
    caller.delete(&id).await.expect("deleted");
    assert_eq!(world.count("SELECT COUNT(*) FROM open_answers").await, 0);
    assert_eq!(world.count(&format!("SELECT COUNT(*) FROM messages WHERE id = '{}'", ids[100])).await, 0);
}

async fn a_long_conversation_disappears_at_once_and_is_removed_in_steps(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    let request = pb::CreateConversationRequest { system_prompt: "secret".to_owned(), ..Default::default() };
    let id = caller.create_conversation(request).await.expect("created").conversation.expect("a conversation").id;
    world.talk(&id, 1800).await;
    caller.delete(&id).await.expect("deleted");
    assert!(caller.get(&id).await.is_err() && caller.titles(50).await.is_empty());
    assert_eq!(world.count("SELECT COUNT(*) FROM conversations WHERE system_prompt <> ''").await, 0);
    assert!(world.count("SELECT COUNT(*) FROM messages").await <= 1300);
    until_closed(&world, id.parse().expect("an id")).await;
    eventually("the rest to be removed", 20, || async {
        world.hand.advance(Duration::from_secs(10));
        (world.count("SELECT COUNT(*) FROM conversations").await == 0).then_some(())
    })
    .await;
    assert_eq!(world.count("SELECT COUNT(*) FROM messages").await, 0);
}

async fn events_of_changes_survive_an_outage_of_the_bus_and_a_restart(database: Database) {
    let redis = RedisServer::start(false).await;
    let world = World::on(database, Bus::redis(&redis.url(), Limits::default()).expect("a URL"));
    let instance = world.start().await;
    let person = world.person(Role::User);
    let caller = Caller::new(person.clone(), &instance);
    let (renamed, deleted) = (caller.conversation().await.id, caller.conversation().await.id);
    redis.pause();
    for title in ["one", "two"] {
        let title = Some(title.to_owned());
        let request = pb::UpdateConversationRequest { conversation_id: renamed.clone(), title, ..Default::default() };
        caller.update_conversation(request).await.expect("the bus does not matter");
    }
    caller.delete(&deleted).await.expect("the bus does not matter");
    instance.kill();
    let _second = world.start().await;
    redis.resume();
    let whole = async {
        until_closed(&world, deleted.parse().expect("an id")).await;
        let conversation_id = renamed.parse().expect("an id");
        eventually("the present title", 20, || async {
            let topic = world.topic(conversation_id).await;
            let last = topic.last().map(|(_, event)| event.clone());
            matches!(last, Some(ChatEvent::Changed { title, .. }) if title == "two").then_some(())
        })
        .await;
    };
    world.pushing(whole).await; // claims of the first instance expire
}

async fn a_temporary_conversation_is_removed_a_day_after_its_last_change(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    let request = pb::CreateConversationRequest { title: "Secret".to_owned(), temporary: true, ..Default::default() };
    let mut made = Vec::new();
    for _ in 0..2 {
        let created = caller.create_conversation(request.clone()).await.expect("created");
        made.push(created.conversation.expect("a conversation").id);
    }
    let kept = caller.titled("Kept").await.id;
    let query = |query: &str| pb::SearchRequest { query: query.to_owned(), ..Default::default() };
    assert!(caller.search(query("secret")).await.expect("results").results.is_empty());
    world.hand.advance(Duration::from_secs(23 * 3600));
    world.talk(&made[1], 1).await;
    world.hand.advance(Duration::from_secs(3600 + 600));
    eventually("the first one to be removed", 20, || async {
        world.hand.advance(Duration::from_secs(60));
        caller.get(&made[0]).await.is_err().then_some(())
    })
    .await;
    caller.get(&made[1]).await.expect("it has changed since");
    until_closed(&world, made[0].parse().expect("an id")).await;
    eventually("the second one to be removed", 60, || async {
        world.hand.advance(Duration::from_secs(3600));
        caller.get(&made[1]).await.is_err().then_some(())
    })
    .await;
    caller.get(&kept).await.expect("not temporary");
    assert_eq!(world.count("SELECT COUNT(*) FROM messages").await, 0);
}
