//! Search through the service: what users and the model write is found, by its user only.

use turnpike_proto::chat::v1 as pb;
use turnpike_testkit::{Database, on_both};
use turnpike_token::Role;

use crate::{caller::Caller, conversations::NOBODY, world::World};

on_both!(questions_answers_and_titles_are_found_by_their_user, results_come_in_pages, queries_are_validated);

fn query(text: &str) -> pb::SearchRequest {
    pb::SearchRequest { query: text.to_owned(), ..Default::default() }
}

async fn questions_answers_and_titles_are_found_by_their_user(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let (person, stranger) = (world.person(Role::User), world.person(Role::Admin));
    let asker = person.at(&instance);
    let id = asker.conversation().await;
    asker.say(id, "Write 5 words about ÖLSTAND").await.rest().await;
    let caller = Caller::new(person, &instance);
    let found = caller.search(query("ölst")).await.expect("results").results;
    let [title, question] = found.try_into().expect("two results");
    assert_eq!(question.conversation_id, id.to_string());
    assert_eq!(question.conversation_title, "Write 5 words about ÖLSTAND");
    assert_eq!((question.snippet.as_str(), question.role.as_str()), ("Write 5 words about ÖLSTAND", "user"));
    assert_eq!(question.marks, [pb::Mark { start: 20, length: 7 }]);
    assert_eq!((title.message_id.as_str(), title.snippet.as_str()), ("", question.snippet.as_str()));
    let messages = asker.messages(id).await;
    assert_eq!(question.message_id, messages[0].id);

    let [answer] = caller.search(query("word 3")).await.expect("results").results.try_into().expect("one result");
    assert_eq!((answer.role.as_str(), answer.message_id.as_str()), ("assistant", messages[1].id.as_str()));
    assert_eq!(answer.snippet, messages[1].content);

    let stranger = Caller::new(stranger, &instance);
    for text in ["ölst", "word", "w", &id.to_string(), NOBODY] {
        assert!(stranger.search(query(text)).await.expect("results").results.is_empty(), "{text}");
    }
}

async fn results_come_in_pages(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    for n in 0..25 {
        caller.titled(&format!("Brakes {n}")).await;
    }
    let first = caller.search(query("brakes")).await.expect("results");
    let titles =
        |page: &pb::SearchResponse| page.results.iter().map(|hit| hit.conversation_title.clone()).collect::<Vec<_>>();
    assert_eq!(titles(&first), (5..25).rev().map(|n| format!("Brakes {n}")).collect::<Vec<_>>());
    let next = pb::SearchRequest { cursor: first.next_cursor, ..query("brakes") };
    let second = caller.search(next).await.expect("results");
    assert_eq!(titles(&second), (0..5).rev().map(|n| format!("Brakes {n}")).collect::<Vec<_>>());
    assert_eq!(second.next_cursor, "");
}

async fn queries_are_validated(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    for text in ["", "  \t", "\"*", "\0"] {
        assert_eq!(caller.search(query(text)).await.expect("blank"), pb::SearchResponse::default());
    }
    caller.search(query(&"ü".repeat(200))).await.expect("as long as can be");
    for (field, request) in [
        ("query", query(&"x".repeat(201))),
        ("limit", pb::SearchRequest { limit: 101, ..query("x") }),
        ("cursor", pb::SearchRequest { cursor: "x".to_owned(), ..query("x") }),
    ] {
        let refused = caller.search(request).await.expect_err(field);
        assert_eq!(refused.fields()[0].field, field);
    }
}
