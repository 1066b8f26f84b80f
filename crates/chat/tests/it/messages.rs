//! The tree of messages: pages along a path, versions, and showing another version.

use turnpike_event::ChatEvent;
use turnpike_fault::Kind;
use turnpike_proto::chat::v1 as pb;
use turnpike_testkit::{Database, eventually, on_both};
use turnpike_token::Role;

use crate::{
    caller::{Caller, Row},
    conversations::NOBODY,
    world::World,
};

on_both!(
    pages_come_newest_first_and_oldest_first_within,
    a_path_leads_through_one_version_of_each_message,
    a_long_conversation_is_read_in_pages,
    pages_of_another_path_are_refused,
    a_page_of_long_messages_is_shorter,
);

fn page(conversation: &str, before: &str, limit: u32) -> pb::ListMessagesRequest {
    let (conversation_id, before) = (conversation.to_owned(), before.to_owned());
    pb::ListMessagesRequest { conversation_id, before, limit, leaf_message_id: String::new() }
}

async fn pages_come_newest_first_and_oldest_first_within(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    let id = caller.conversation().await.id;
    let ids = world.talk(&id, 5).await;
    for (before, limit, texts, more) in [
        ("", 2, &["3", "4"][..], true),
        (&ids[3], 2, &["1", "2"], true),
        (&ids[1], 2, &["0"], false),
        (&ids[0], 2, &[], false),
        ("", 5, &["0", "1", "2", "3", "4"], false),
        ("", 4, &["1", "2", "3", "4"], true),
        ("", 0, &["0", "1", "2", "3", "4"], false),
    ] {
        let found = caller.list_messages(page(&id, before, limit)).await.expect("a page");
        let shown: Vec<_> = found.messages.iter().map(|message| message.content.as_str()).collect();
        assert_eq!((shown.as_slice(), found.more), (texts, more));
    }
    let [first, second] =
        caller.list_messages(page(&id, &ids[2], 2)).await.expect("a page").messages.try_into().expect("two");
    assert_eq!((first.role.as_str(), second.role.as_str()), ("user", "assistant"));
    assert_eq!((first.parent_id.as_str(), second.parent_id.as_str()), ("", ids[0].as_str()));
    assert_eq!((first.state(), first.version, first.versions), (pb::MessageState::Complete, 1, 1));
    assert_eq!((first.id.as_str(), first.conversation_id.as_str()), (ids[0].as_str(), id.as_str()));
    let refused = caller.list_messages(page(&id, "", 101)).await.expect_err("too many");
    assert_eq!(refused.fields()[0].field, "limit");
}

async fn a_path_leads_through_one_version_of_each_message(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    let conversation = caller.titled("Brakes").await.id;
    let row = |parent, role, version, content| Row { conversation: &conversation, parent, role, version, content };
    let q1 = world.store(row("", "user", 1, "q1")).await;
    let a1 = world.store(row(&q1, "assistant", 1, "a1")).await;
    let q2 = world.store(row(&a1, "user", 1, "q2")).await;
    let a2 = world.store(row(&q2, "assistant", 1, "a2")).await;
    assert_eq!(caller.texts(&conversation).await, ["q1", "a1", "q2", "a2"]);
    let again = world.store(row(&q2, "assistant", 2, "a2 again")).await; // generated again
    assert_eq!(caller.texts(&conversation).await, ["q1", "a1", "q2", "a2 again"]);
    let edited = world.store(row("", "user", 2, "q1 edited")).await; // the first message edited
    world.store(row(&edited, "assistant", 1, "other")).await;
    assert_eq!(caller.texts(&conversation).await, ["q1 edited", "other"]);

    let found = caller.list_messages(page(&conversation, "", 10)).await.expect("a page");
    let versions: Vec<_> = found.messages.iter().map(|message| (message.version, message.versions)).collect();
    assert_eq!(versions, [(2, 2), (1, 1)]);
    let before = caller.get(&conversation).await.expect("the caller's own").updated_at;

    // Another version shows the newest message that follows it.
    for (selected, leaf, texts) in [
        (&q1, &again, &["q1", "a1", "q2", "a2 again"]),
        (&a2, &a2, &["q1", "a1", "q2", "a2"]),
        (&a1, &again, &["q1", "a1", "q2", "a2 again"]),
    ] {
        let shown = caller.select(&conversation, selected).await.expect("shown");
        assert_eq!(&shown.leaf_message_id, leaf);
        assert_eq!(shown.updated_at, before, "it keeps its place in lists");
        assert_eq!(caller.texts(&conversation).await, texts);
    }
    let other = pb::ListMessagesRequest { leaf_message_id: edited.clone(), ..page(&conversation, "", 10) };
    let other = caller.list_messages(other).await.expect("another path").messages;
    assert_eq!(other.iter().map(|message| message.content.as_str()).collect::<Vec<_>>(), ["q1 edited"]);

    let conversation_id = conversation.parse().expect("an id");
    let leaf_message_id = Some(again.parse().expect("an id"));
    let last = ChatEvent::Changed { conversation_id, title: "Brakes".to_owned(), pinned: false, leaf_message_id };
    eventually("the shown path on the topic", 10, || async {
        world.topic(conversation_id).await.last().is_some_and(|(_, event)| *event == last).then_some(())
    })
    .await;
    for id in [NOBODY, "no-id", ""] {
        let refused = caller.select(&conversation, id).await.expect_err("no message");
        assert_eq!((refused.kind(), refused.detail()), (Kind::NotFound, "There is no such message"));
    }
}

async fn a_long_conversation_is_read_in_pages(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    let id = caller.conversation().await.id;
    let ids = world.talk(&id, 10_000).await;
    let (mut before, mut seen) = (String::new(), Vec::new());
    loop {
        let found = caller.list_messages(page(&id, &before, 100)).await.expect("a page");
        seen.extend(found.messages.iter().rev().map(|message| message.id.clone()));
        before.clone_from(&found.messages[0].id);
        if !found.more {
            break;
        }
    }
    seen.reverse();
    assert!(seen == ids, "every message once, in order");
    let shown = caller.select(&id, &ids[0]).await.expect("shown");
    assert_eq!(&shown.leaf_message_id, ids.last().expect("messages"));
}

async fn pages_of_another_path_are_refused(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    let (id, other) = (caller.conversation().await.id, caller.conversation().await.id);
    let (_, foreign) = (world.talk(&id, 2).await, world.talk(&other, 2).await);
    for text in [foreign[1].as_str(), NOBODY, "no-id"] {
        let refused = caller.list_messages(page(&id, text, 10)).await.expect_err("not of this conversation");
        assert_eq!((refused.kind(), refused.fields()[0].field.as_str()), (Kind::Validation, "before"));
        let leaf = pb::ListMessagesRequest { leaf_message_id: text.to_owned(), ..page(&id, "", 10) };
        let refused = caller.list_messages(leaf).await.expect_err("not of this conversation");
        assert_eq!((refused.kind(), refused.fields()[0].field.as_str()), (Kind::Validation, "leaf_message_id"));
    }
}

async fn a_page_of_long_messages_is_shorter(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    let conversation = caller.conversation().await.id;
    let (long, mut parent) = ("ü".repeat(128 << 10), String::new());
    for _ in 0..30 {
        let row = Row { conversation: &conversation, parent: &parent, role: "user", version: 1, content: &long };
        parent = world.store(row).await;
    }
    let (mut before, mut pages) = (String::new(), Vec::new());
    loop {
        let found = caller.list_messages(page(&conversation, &before, 100)).await.expect("it fits into a response");
        pages.push(found.messages.len());
        before.clone_from(&found.messages[0].id);
        if !found.more {
            break;
        }
    }
    assert_eq!(pages, [8, 8, 8, 6]);
}
