//! Answers of the scripted model: their events, what is stored, versions, limits and repeated requests.

use turnpike_event::{ChatEvent, STOPPED};
use turnpike_fault::Kind;
use turnpike_proto::chat::v1::{self as pb, MessageState};
use turnpike_testkit::{Database, eventually, on_both};
use turnpike_token::Role;

use crate::{
    asker::{Received, text_of, whole},
    world::World,
};

on_both!(
    an_answer_is_streamed_published_and_stored,
    an_answer_goes_on_without_its_caller,
    a_stopped_answer_keeps_its_text,
    an_answer_of_another_instance_is_stopped,
    a_conversation_has_one_running_answer,
    a_user_has_a_limit_of_running_answers,
    versions_are_siblings_and_none_is_lost,
    a_repeated_request_gets_the_same_answer,
    the_prompt_has_the_newest_messages_that_fit,
    conversations_of_others_are_not_found,
    a_deleted_conversation_ends_its_answer,
    messages_that_are_not_valid_are_refused,
);

/// The scripted model waits this long before each piece.
const SLOW: (&str, u64) = ("TURNPIKE_LLM_SCRIPTED_DELAY_MS", 200);

async fn an_answer_is_streamed_published_and_stored(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::User).at(&instance);
    let id = caller.conversation().await;
    let events = caller.say(id, "Write 5 words about brakes").await.rest().await;
    let ChatEvent::Started { user_message: Some(sent), title, message_id, .. } = &events[0].event else {
        panic!("{events:?}")
    };
    assert_eq!((sent.content.as_str(), sent.parent_id), ("Write 5 words about brakes", None));
    assert_eq!(title.as_deref(), Some("Write 5 words about brakes"));
    assert_eq!(text_of(&events), "word-1 word-2 word-3 word-4 word-5");
    assert_eq!(whole(&events), text_of(&events));
    let Some(ChatEvent::Message { usage, finish_reason, model, .. }) = events.last().map(|last| &last.event) else {
        panic!("{events:?}")
    };
    assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.estimated), (5, 5, false), "as the model counted");
    assert_eq!((finish_reason.as_str(), model.as_str()), ("stop", "turnpike-scripted"));
    let of_the_caller: Vec<_> =
        events.iter().map(|received| (received.offset.expect("on the topic"), received.event.clone())).collect();
    assert_eq!(world.topic(id).await, of_the_caller, "the topic has the same events");

    let messages = caller.messages(id).await;
    let shown: Vec<_> = messages.iter().map(|m| (m.role.as_str(), m.content.as_str(), m.state())).collect();
    assert_eq!(shown[0], ("user", "Write 5 words about brakes", MessageState::Complete));
    assert_eq!(shown[1], ("assistant", whole(&events), MessageState::Complete));
    assert_eq!(messages[1].id, message_id.to_string());
    assert_eq!(messages[1].usage.map(|usage| usage.total_tokens), Some(10));
    let conversation = caller.get(id).await;
    assert_eq!(
        (conversation.title.as_str(), conversation.leaf_message_id),
        ("Write 5 words about brakes", messages[1].id.clone())
    );

    let more = caller.say(id, "And 2 words").await.rest().await;
    let ChatEvent::Started { title, user_message: Some(sent), .. } = &more[0].event else { panic!("{more:?}") };
    assert_eq!((title, sent.parent_id), (&None, Some(*message_id)), "later messages do not retitle");
    assert_eq!(caller.messages(id).await.len(), 4);
    instance.stop().await;
}

async fn an_answer_goes_on_without_its_caller(database: Database) {
    let (name, delay) = SLOW;
    let world = World::new(database).with(name, delay);
    let instance = world.start().await;
    let caller = world.person(Role::User).at(&instance);
    let id = caller.conversation().await;
    let mut answer = caller.say(id, "4 words").await;
    world.pushing(answer.until("word-1")).await;
    drop(answer);
    let last = world
        .pushing(eventually("the end of the answer", 20, || async {
            world.topic(id).await.pop().filter(|(_, event)| event.ends_answer())
        }))
        .await;
    assert!(matches!(last.1, ChatEvent::Message { content, .. } if content == "word-1 word-2 word-3 word-4"));
}

async fn a_stopped_answer_keeps_its_text(database: Database) {
    let (name, delay) = SLOW;
    let world = World::new(database).with(name, delay);
    let instance = world.start().await;
    let caller = world.person(Role::User).at(&instance);
    let id = caller.conversation().await;
    assert_eq!(caller.stop(id).await.expect("own"), "", "nothing runs");
    let mut answer = caller.say(id, "100 words").await;
    let mut events = world.pushing(answer.until("word-3")).await;
    let stopped = caller.stop(id).await.expect("own");
    events.extend(answer.rest().await);
    let Some(ChatEvent::Message { content, finish_reason, message_id, usage, .. }) =
        events.last().map(|last| last.event.clone())
    else {
        panic!("{events:?}")
    };
    assert_eq!((finish_reason.as_str(), message_id.to_string()), (STOPPED, stopped));
    assert_eq!(content, text_of(&events));
    assert!(content.starts_with("word-1 word-2 word-3") && usage.completion_tokens > 0 && usage.estimated, "{content}");
    let stored = caller.messages(id).await.remove(1);
    assert_eq!((stored.content, stored.state), (content, MessageState::Stopped.into()));
    caller.say(id, "2 words").await; // the conversation is free again
}

async fn an_answer_of_another_instance_is_stopped(database: Database) {
    let (name, delay) = SLOW;
    let world = World::new(database).with(name, delay);
    let (one, other) = (world.start().await, world.start().await);
    let person = world.person(Role::User);
    let id = person.at(&one).conversation().await;
    let mut answer = person.at(&one).say(id, "100 words").await;
    world.pushing(answer.until("word-2")).await;
    // The clock stands still: the lease is not renewed, and the request comes over the bus.
    assert!(!person.at(&other).stop(id).await.expect("own").is_empty());
    let events = answer.rest().await;
    assert!(
        matches!(&events.last().expect("an end").event, ChatEvent::Message { finish_reason, .. } if finish_reason == STOPPED)
    );
}

async fn a_conversation_has_one_running_answer(database: Database) {
    let (name, delay) = SLOW;
    let world = World::new(database).with(name, delay);
    let (one, other) = (world.start().await, world.start().await);
    let person = world.person(Role::User);
    let id = person.at(&one).conversation().await;
    let mut answer = person.at(&one).say(id, "100 words").await;
    world.pushing(answer.until("word-1")).await;
    for caller in [person.at(&one), person.at(&other)] {
        let refused = caller.send(caller.message(id, "Me, too")).await.err().expect("refused");
        assert_eq!((refused.kind(), refused.code()), (Kind::Conflict, "ANSWER_RUNNING"));
    }
    assert_eq!(person.at(&one).messages(id).await.len(), 2, "a refused message is not stored");
}

async fn a_user_has_a_limit_of_running_answers(database: Database) {
    let (name, delay) = SLOW;
    let world = World::new(database).with(name, delay).with("TURNPIKE_LIMIT_ANSWERS_PER_USER", 3);
    let instance = world.start().await;
    let caller = world.person(Role::User).at(&instance);
    let mut conversations = Vec::new();
    for _ in 0..20 {
        conversations.push(caller.conversation().await);
    }
    let send = async |id| caller.send(caller.message(id, "100 words")).await.map_err(|fault| fault.kind());
    let sent = futures_util::future::join_all(conversations.iter().copied().map(send)).await;
    assert_eq!(sent.iter().filter(|sent| sent.is_ok()).count(), 3, "all at once");
    assert!(sent.iter().all(|sent| !matches!(sent, Err(kind) if *kind != Kind::RateLimited)));
    let other = world.person(Role::User).at(&instance);
    let own = other.conversation().await;
    other.say(own, "100 words").await;
}

async fn versions_are_siblings_and_none_is_lost(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::User).at(&instance);
    let id = caller.conversation().await;
    caller.say(id, "2 words").await.rest().await;
    let first = caller.messages(id).await;
    let again = caller.again(id, &first[1].id).await.expect("accepted").rest().await;
    assert!(matches!(&again[0].event, ChatEvent::Started { user_message: None, .. }));
    let second = caller.messages(id).await;
    assert_eq!(second[0].id, first[0].id);
    assert_ne!(second[1].id, first[1].id);
    assert_eq!((second[1].version, second[1].versions), (2, 2));
    // A message of the user that is answered again.
    caller.again(id, &first[0].id).await.expect("accepted").rest().await;
    assert_eq!(caller.messages(id).await[1].versions, 3);

    let edited = pb::SendMessageRequest { edit_of: first[0].id.clone(), ..caller.message(id, "3 words") };
    caller.send(edited).await.expect("accepted").rest().await;
    let third = caller.messages(id).await;
    assert_eq!(third.len(), 2);
    assert_eq!((third[0].content.as_str(), third[0].version, third[0].versions), ("3 words", 2, 2));
    assert_eq!((third[1].content.as_str(), third[1].versions), ("word-1 word-2 word-3", 1));

    let select = pb::SelectVersionRequest {
        conversation_id: id.to_string(),
        message_id: first[1].id.clone(),
        ..Default::default()
    };
    caller.conversations.clone().select_version(caller.person.token.request(select)).await.expect("own");
    let shown = caller.messages(id).await;
    assert_eq!(
        shown.iter().map(|m| &m.id).collect::<Vec<_>>(),
        first.iter().map(|m| &m.id).collect::<Vec<_>>(),
        "the first version is shown again"
    );
    for (version, exists) in [(3, true), (1, true), (2, true), (4, false)] {
        let message_id = caller.messages(id).await[1].id.clone();
        let select = pb::SelectVersionRequest { conversation_id: id.to_string(), message_id, version };
        let selected = caller.conversations.clone().select_version(caller.person.token.request(select)).await;
        assert_eq!(selected.is_ok(), exists, "version {version}");
        let shown = caller.messages(id).await[1].version;
        assert_eq!(shown, if exists { version } else { 2 });
    }
    let not_own = pb::SendMessageRequest { edit_of: first[1].id.clone(), ..caller.message(id, "x") };
    assert_eq!(caller.send(not_own).await.err().expect("an answer is not edited").kind(), Kind::Validation);
}

async fn a_repeated_request_gets_the_same_answer(database: Database) {
    let (name, delay) = SLOW;
    let world = World::new(database).with(name, delay);
    let (one, other) = (world.start().await, world.start().await);
    let person = world.person(Role::User);
    let (here, there) = (person.at(&one), person.at(&other));
    let id = here.conversation().await;
    let request = pb::SendMessageRequest { idempotency_key: "k1".into(), ..here.message(id, "50 words") };
    let mut answer = here.send(request.clone()).await.expect("accepted");
    let mut events = world.pushing(answer.until("word-2")).await;
    let repeated = here.send(request.clone()).await.expect("accepted");
    let elsewhere = there.send(request.clone()).await.expect("accepted");
    let (rest, repeated, elsewhere) =
        world.pushing(async { tokio::join!(answer.rest(), repeated.rest(), elsewhere.rest()) }).await;
    events.extend(rest);
    let plain = |events: &[Received]| {
        events.iter().map(|received| (received.offset, received.event.clone())).collect::<Vec<_>>()
    };
    assert_eq!(plain(&repeated), plain(&events), "the same instance");
    assert_eq!(plain(&elsewhere), plain(&events), "another instance");
    assert!(!events[0].replayed && repeated[0].replayed && elsewhere[0].replayed && !repeated[1].replayed);
    let late = there.send(request).await.expect("accepted").rest().await;
    assert_eq!(late.len(), 1);
    assert_eq!((whole(&late), late[0].replayed), (whole(&events), true), "after the end");
    assert_eq!(here.messages(id).await.len(), 2);

    let another = pb::SendMessageRequest { idempotency_key: "k1".into(), ..here.message(id, "6 words") };
    assert_eq!(here.send(another).await.err().expect("refused").code(), "IDEMPOTENCY_KEY_REUSED");
}

async fn the_prompt_has_the_newest_messages_that_fit(database: Database) {
    let world = World::new(database).with("TURNPIKE_LLM_CONTEXT_TOKENS", 256);
    let instance = world.start().await;
    let caller = world.person(Role::User).at(&instance);
    let id = caller.conversation().await;
    let mut prompts = Vec::new();
    for _ in 0..12 {
        let events = caller.say(id, "20 words").await.rest().await;
        let Some(ChatEvent::Message { usage, .. }) = events.last().map(|last| &last.event) else {
            panic!("{events:?}")
        };
        prompts.push(usage.prompt_tokens);
    }
    assert_eq!(prompts[..2], [2, 24], "everything fits at first");
    let most = prompts.iter().max().copied().expect("prompts");
    assert!((44..200).contains(&most), "then the oldest messages are left out: {prompts:?}");
    assert_eq!(prompts[11] % 22, 2, "no message is cut: {prompts:?}");
    let long = "long ".repeat(400);
    let events = caller.say(id, &long).await.rest().await;
    assert!(whole(&events).contains(long.trim()), "the last message is always part of it");
}

async fn conversations_of_others_are_not_found(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let (owner, other) = (world.person(Role::User).at(&instance), world.person(Role::Admin).at(&instance));
    let id = owner.conversation().await;
    owner.say(id, "1 words").await.rest().await;
    let message = owner.messages(id).await.remove(1).id;
    assert_eq!(other.send(other.message(id, "Hi")).await.err().expect("refused").kind(), Kind::NotFound);
    assert_eq!(other.again(id, &message).await.err().expect("refused").kind(), Kind::NotFound);
    assert_eq!(other.stop(id).await.expect_err("refused").kind(), Kind::NotFound);
    let own = other.conversation().await;
    assert_eq!(other.again(own, &message).await.err().expect("of another conversation").kind(), Kind::NotFound);
}

async fn a_deleted_conversation_ends_its_answer(database: Database) {
    let (name, delay) = SLOW;
    let world = World::new(database).with(name, delay);
    let instance = world.start().await;
    let caller = world.person(Role::User).at(&instance);
    let id = caller.conversation().await;
    let mut answer = caller.say(id, "1000 words").await;
    world.pushing(answer.until("word-2")).await;
    caller.delete(id).await;
    let events = world.pushing(answer.rest()).await;
    let last = &events.last().expect("an end").event;
    assert!(matches!(last, ChatEvent::Error { error_code, .. } if error_code == "CONVERSATION_DELETED"), "{last:?}");
    let topic = world
        .pushing(eventually("the end of the topic", 20, || async {
            let topic = world.topic(id).await;
            matches!(topic.last(), Some((_, ChatEvent::Deleted { .. }))).then_some(topic)
        }))
        .await;
    assert!(!topic.iter().any(|(_, event)| event.ends_answer()));
    assert_eq!(caller.send(caller.message(id, "Hi")).await.err().expect("gone").kind(), Kind::NotFound);
}

async fn messages_that_are_not_valid_are_refused(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::User).at(&instance);
    let id = caller.conversation().await;
    let message = |content: &str| caller.message(id, content);
    for (request, field) in [
        (message(" \n"), "content"),
        (message(&"x".repeat((256 << 10) + 1)), "content"),
        (pb::SendMessageRequest { edit_of: "x".into(), ..message("Hi") }, "edit_of"),
        (pb::SendMessageRequest { model: "x".repeat(257), ..message("Hi") }, "model"),
    ] {
        let refused = caller.send(request).await.err().expect(field);
        assert_eq!((refused.kind(), refused.fields()[0].field.as_str()), (Kind::Validation, field));
    }
    assert!(caller.messages(id).await.is_empty());
    let events = caller.say(id, &format!("😀{}", "x".repeat((256 << 10) - 4))).await.rest().await;
    assert!(whole(&events).contains("😀x"), "the longest message is accepted");
}
