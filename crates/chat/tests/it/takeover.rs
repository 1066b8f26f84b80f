//! Processes that die, and a Redis that is away, while a model answers.

use std::time::Duration;

use turnpike_bus::{Bus, Limits};
use turnpike_event::ChatEvent;
use turnpike_proto::chat::v1::MessageState;
use turnpike_testkit::{Database, RedisServer, eventually, on_both};
use turnpike_token::Role;
use turnpike_topic::{ConversationId, Offset};

use crate::{
    asker::{text_of, whole},
    world::World,
};

on_both!(
    an_answer_of_a_killed_process_is_ended_once,
    a_stopping_process_ends_its_answers,
    callers_do_not_notice_that_redis_is_away,
    a_last_event_that_redis_did_not_take_is_published_by_the_next_run,
);

const DELAY: &str = "TURNPIKE_LLM_SCRIPTED_DELAY_MS";

/// The last event of the one answer of a conversation, once it is there.
async fn ended(world: &World, id: ConversationId) -> Vec<(Offset, ChatEvent)> {
    let topic = eventually("the end of the answer", 20, || async {
        let topic = world.topic(id).await;
        topic.iter().any(|(_, event)| event.ends_answer()).then_some(topic)
    });
    world.pushing(topic).await
}

fn deltas(topic: &[(Offset, ChatEvent)]) -> String {
    let content = |(_, event): &(Offset, ChatEvent)| match event {
        ChatEvent::Delta { content, .. } => content.clone(),
        _ => String::new(),
    };
    topic.iter().map(content).collect()
}

async fn an_answer_of_a_killed_process_is_ended_once(database: Database) {
    let world = World::new(database).with(DELAY, 200);
    let instance = world.start().await;
    let person = world.person(Role::User);
    let id = person.at(&instance).conversation().await;
    let mut answer = person.at(&instance).say(id, "1000 words").await;
    world.pushing(answer.until("word-5")).await;
    instance.kill();
    let (one, other) = (world.start().await, world.start().await);
    let topic = ended(&world, id).await;
    // Both instances have looked several times.
    world.pushing(tokio::time::sleep(Duration::from_millis(500))).await;
    assert_eq!(world.topic(id).await, topic, "one last event");
    let Some((_, ChatEvent::Error { error_code, .. })) = topic.last() else { panic!("{topic:?}") };
    assert_eq!(error_code, "INTERRUPTED");
    let message = person.at(&one).messages(id).await.remove(1);
    assert_eq!((message.state(), message.error_code.as_str()), (MessageState::Interrupted, "INTERRUPTED"));
    assert_eq!(message.content, deltas(&topic), "what followers have seen is stored");
    assert!(message.content.contains("word-5") && message.usage.is_some_and(|usage| usage.estimated));
    let again = person.at(&other).again(id, &message.id).await.expect("the conversation is free");
    drop(again);
}

async fn a_stopping_process_ends_its_answers(database: Database) {
    let world = World::new(database).with(DELAY, 200);
    let instance = world.start().await;
    let person = world.person(Role::User);
    let id = person.at(&instance).conversation().await;
    let mut answer = person.at(&instance).say(id, "1000 words").await;
    world.pushing(answer.until("word-2")).await;
    world.pushing(instance.stop()).await;
    let topic = world.topic(id).await;
    assert!(matches!(topic.last(), Some((_, ChatEvent::Error { error_code, .. })) if error_code == "INTERRUPTED"));
}

async fn callers_do_not_notice_that_redis_is_away(database: Database) {
    let redis = RedisServer::start(false).await;
    let bus = Bus::redis(&redis.url(), Limits::default()).expect("a URL");
    let world = World::on(database, bus).with(DELAY, 50);
    let instance = world.start().await;
    let person = world.person(Role::User);
    let caller = person.at(&instance);
    let id = caller.conversation().await;
    let mut answer = caller.say(id, "40 words").await;
    let mut events = world.pushing(answer.until("word-5")).await;
    redis.pause();
    events.extend(world.pushing(answer.rest()).await);
    assert_eq!(text_of(&events), whole(&events), "each piece once");
    assert!(whole(&events).ends_with("word-40") && events.last().is_some_and(|last| last.offset.is_none()));
    let message = caller.messages(id).await.remove(1);
    assert_eq!((message.state(), message.content.as_str()), (MessageState::Complete, whole(&events)));
    let more = world.pushing(async { caller.say(id, "2 words").await.rest().await }).await;
    assert_eq!(whole(&more), "word-1 word-2", "a new answer works, too");
    redis.resume();
    let both = world
        .pushing(eventually("the ends of both answers", 30, || async {
            let topic = world.topic(id).await;
            (topic.iter().filter(|(_, event)| event.ends_answer()).count() == 2).then_some(topic)
        }))
        .await;
    let first = events[0].event.message_id();
    let of_first: Vec<_> = both.into_iter().filter(|(_, event)| event.message_id() == first).collect();
    assert_eq!(deltas(&of_first), whole(&events), "the topic has each piece once, too");
}

async fn a_last_event_that_redis_did_not_take_is_published_by_the_next_run(database: Database) {
    let redis = RedisServer::start(false).await;
    let bus = Bus::redis(&redis.url(), Limits::default()).expect("a URL");
    let world = World::on(database, bus).with(DELAY, 50);
    let instance = world.start().await;
    let person = world.person(Role::User);
    let caller = person.at(&instance);
    let id = caller.conversation().await;
    let mut answer = caller.say(id, "20 words").await;
    let mut events = world.pushing(answer.until("word-5")).await;
    redis.pause();
    events.extend(world.pushing(answer.rest()).await);
    assert!(whole(&events).ends_with("word-20"));
    instance.kill();
    redis.resume();
    let _next = world.start().await;
    let topic = ended(&world, id).await;
    let (_, last) = topic.last().expect("events");
    assert!(matches!(last, ChatEvent::Message { content, .. } if content == whole(&events)), "{last:?}");
    assert_eq!(topic.iter().filter(|(_, event)| event.ends_answer()).count(), 1);
}
