//! Answers of a model's server: what it is asked, what is stored, and the titles that it suggests.

use std::time::Duration;

use serde_json::{Value, json};
use turnpike_event::ChatEvent;
use turnpike_proto::chat::v1::{self as pb, MessageState};
use turnpike_testkit::{Database, eventually, on_both};
use turnpike_token::Role;

use crate::{
    asker::{Asker, text_of, whole},
    fake::{self, Fake, MODEL, Plan, Step},
    world::{Instance, World},
};

on_both!(
    an_answer_of_a_server_is_stored_with_its_usage,
    the_reasoning_is_kept_apart_from_the_text,
    a_server_that_is_not_there_is_said_and_stored,
    an_answer_that_breaks_off_keeps_its_text,
    a_suggested_title_takes_the_place_of_the_rules,
    a_title_of_the_user_stays,
    the_title_of_the_rule_stays_if_none_is_suggested,
);

async fn start(database: Database, url: &str, titles: &str) -> (World, Instance, Asker) {
    let world = World::new(database).with("TURNPIKE_LLM_URL", url).with("TURNPIKE_LLM_TITLES", titles);
    let instance = world.start().await;
    let caller = world.person(Role::User).at(&instance);
    (world, instance, caller)
}

fn body(fake: &Fake, n: usize) -> Value {
    serde_json::from_str(&fake.seen()[n].body).expect("JSON")
}

async fn an_answer_of_a_server_is_stored_with_its_usage(database: Database) {
    let fake = Fake::start().await;
    let (world, _instance, caller) = start(database, &fake.url(), "rule").await;
    let id = caller.conversation().await;
    let events = caller.say(id, "Hello?").await.rest().await;
    assert_eq!((text_of(&events).as_str(), whole(&events)), ("Hello world", "Hello world"));
    let Some(ChatEvent::Message { usage, model, finish_reason, .. }) = events.last().map(|last| &last.event) else {
        panic!("{events:?}")
    };
    assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.estimated), (7, 2, false), "as the server counted");
    assert_eq!((model.as_str(), finish_reason.as_str()), (MODEL, "stop"));
    assert_eq!(world.topic(id).await.len(), events.len());

    caller.say(id, "And now?").await.rest().await;
    let asked: Vec<Value> = fake
        .seen()
        .iter()
        .filter(|seen| seen.path == "/v1/chat/completions")
        .map(|seen| serde_json::from_str(&seen.body).expect("JSON"))
        .collect();
    assert_eq!(asked.len(), 2);
    assert_eq!((&asked[0]["stream"], &asked[0]["stream_options"]), (&json!(true), &json!({ "include_usage": true })));
    let said = |role: &str, content: &str| json!({ "role": role, "content": content });
    assert_eq!(asked[0]["messages"], json!([said("user", "Hello?")]));
    assert_eq!(
        asked[1]["messages"],
        json!([said("user", "Hello?"), said("assistant", "Hello world"), said("user", "And now?")])
    );
}

async fn the_reasoning_is_kept_apart_from_the_text(database: Database) {
    let fake = Fake::start().await;
    let events = [
        fake::role(),
        fake::delta(&json!({ "reasoning_content": "Let me " })),
        fake::delta(&json!({ "reasoning": "think." })),
        fake::text("Yes"),
        fake::finish("stop"),
        fake::usage(7, 5),
    ];
    let done = Step::Write(b"data: [DONE]\n\n".to_vec());
    fake.next(Plan::events(events.iter().map(String::as_str)).then([done, Step::End]));
    let (_world, _instance, caller) = start(database, &fake.url(), "rule").await;
    let id = caller.conversation().await;
    let events = caller.say(id, "Hello?").await.rest().await;
    let Some(ChatEvent::Message { content, reasoning_content, .. }) = events.last().map(|last| &last.event) else {
        panic!("{events:?}")
    };
    assert_eq!((content.as_str(), reasoning_content.as_str()), ("Yes", "Let me think."));
    let pieces: String = events
        .iter()
        .filter_map(|received| match &received.event {
            ChatEvent::Delta { reasoning_content, .. } => Some(reasoning_content.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(pieces, "Let me think.");
    assert_eq!(caller.messages(id).await[1].reasoning_content, "Let me think.");
}

async fn a_server_that_is_not_there_is_said_and_stored(database: Database) {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let (_world, _instance, caller) = start(database, &format!("http://{closed}/v1"), "rule").await;
    let id = caller.conversation().await;
    let events = caller.say(id, "Hello?").await.rest().await;
    let Some(ChatEvent::Error { error_message, .. }) = events.last().map(|last| &last.event) else {
        panic!("{events:?}")
    };
    assert_eq!(error_message, "Could not connect to the language model");
    let messages = caller.messages(id).await;
    assert_eq!((messages[0].content.as_str(), messages[1].state()), ("Hello?", MessageState::Error));
    assert_eq!(messages[1].error_message, "Could not connect to the language model");
}

async fn an_answer_that_breaks_off_keeps_its_text(database: Database) {
    let fake = Fake::start().await;
    let events = [fake::role(), fake::text("Hel"), fake::text("lo")];
    fake.next(Plan::events(events.iter().map(String::as_str)).then([Step::Close]));
    let (_world, _instance, caller) = start(database, &fake.url(), "rule").await;
    let id = caller.conversation().await;
    let events = caller.say(id, "Hello?").await.rest().await;
    let ends = events.iter().filter(|received| received.event.ends_answer()).count();
    assert_eq!(ends, 1, "{events:?}");
    assert!(matches!(events.last().map(|last| &last.event), Some(ChatEvent::Error { .. })), "{events:?}");
    assert_eq!(text_of(&events), "Hello");
    let stored = caller.messages(id).await.remove(1);
    assert_eq!((stored.content.as_str(), stored.state()), ("Hello", MessageState::Error));
}

async fn a_suggested_title_takes_the_place_of_the_rules(database: Database) {
    let fake = Fake::start().await;
    let words = |words: &'static [&'static str]| Plan::answer(&json!({ "stream": true }), words);
    fake.next(words(&["Check the ", "pads."]));
    fake.next(words(&["\"Worn brake", " pads\"\n"]));
    let (world, _instance, caller) = start(database, &fake.url(), "model").await;
    let id = caller.conversation().await;
    let events = caller.say(id, "Why do my brakes squeal?").await.rest().await;
    let ChatEvent::Started { title, .. } = &events[0].event else { panic!("{events:?}") };
    assert_eq!(title.as_deref(), Some("Why do my brakes squeal?"), "the rule's, at once");
    world.pushing(titled(&caller, id, "Worn brake pads")).await;
    let seen = fake.seen().iter().position(|seen| seen.body.contains("Write a title")).expect("the model was asked");
    let asked = body(&fake, seen);
    assert!(asked["messages"][1]["content"].as_str().is_some_and(|text| text.contains("Check the pads.")), "{asked}");
    assert!(seen > 0, "after the answer");
    // Its followers learn of it.
    world
        .pushing(eventually("the event", 20, async || {
            let events = world.topic(id).await;
            events
                .into_iter()
                .find(|(_, event)| matches!(event, ChatEvent::Changed { title, .. } if title == "Worn brake pads"))
        }))
        .await;
}

async fn a_title_of_the_user_stays(database: Database) {
    let fake = Fake::start().await;
    let (world, _instance, caller) = start(database, &fake.url(), "model").await;
    let id = caller.conversation().await;
    // The suggestion arrives after the user has renamed the conversation.
    fake.next(Plan::answer(&json!({ "stream": true }), &["Check the pads."]));
    let late = [
        Step::Pause(Duration::from_millis(500)),
        Step::Write(format!("data: {}\n\n", fake::text("Late")).into_bytes()),
    ];
    let end =
        [fake::finish("stop"), "[DONE]".to_owned()].map(|data| Step::Write(format!("data: {data}\n\n").into_bytes()));
    fake.next(Plan::events([fake::role().as_str()]).then(late).then(end).then([Step::End]));
    caller.say(id, "Why do my brakes squeal?").await.rest().await;
    eventually("the request for a title", 20, async || (fake.seen().len() >= 2).then_some(())).await;
    let request = pb::UpdateConversationRequest {
        conversation_id: id.to_string(),
        title: Some("Mine".to_owned()),
        ..pb::UpdateConversationRequest::default()
    };
    caller.conversations.clone().update_conversation(caller.person.token.request(request)).await.expect("own");
    world.pushing(eventually("the suggestion", 20, async || fake.seen()[1].finished.then_some(()))).await;
    caller.say(id, "And now?").await.rest().await;
    assert_eq!(caller.get(id).await.title, "Mine");
}

async fn the_title_of_the_rule_stays_if_none_is_suggested(database: Database) {
    let fake = Fake::start().await;
    fake.next(Plan::answer(&json!({ "stream": true }), &["Check the pads."]));
    fake.next(Plan::whole(400, "application/json", r#"{"error":{"message":"no"}}"#));
    let (world, _instance, caller) = start(database, &fake.url(), "model").await;
    let id = caller.conversation().await;
    caller.say(id, "Why do my brakes squeal?").await.rest().await;
    world.pushing(eventually("the request for a title", 20, async || (fake.seen().len() >= 2).then_some(()))).await;
    caller.say(id, "And now?").await.rest().await;
    assert_eq!(caller.get(id).await.title, "Why do my brakes squeal?");
}

async fn titled(caller: &Asker, id: turnpike_topic::ConversationId, title: &str) {
    eventually("the title", 20, async || (caller.get(id).await.title == title).then_some(())).await;
}
