//! The index and the search, on both databases.

use proptest::{prelude::*, test_runner::TestRunner};
use turnpike_store::micros;
use turnpike_testkit::{Database, on_both};
use uuid::Uuid;

use super::*;
use crate::{
    changes::{self, Changes},
    creation::{self, New},
    removal,
    service::MIGRATIONS,
};

on_both!(
    words_are_found_in_any_case_and_form,
    every_word_must_be_there_and_the_last_one_may_be_a_beginning,
    the_newest_come_first_in_pages,
    a_title_is_found_as_it_is_now,
    only_the_users_own_texts_are_found,
    temporary_conversations_are_not_found,
    a_text_that_changes_is_found_as_it_is_now,
    what_is_deleted_is_not_found,
    no_text_is_syntax,
    a_text_of_any_length_is_indexed,
);

struct World {
    store: Store,
    now: Timestamp,
}

impl World {
    async fn new(database: &Database) -> Self {
        let store = Store::open(database.url(), MIGRATIONS).await.expect("a database");
        Self { store, now: Timestamp::from_second(1_763_700_000).expect("in range") }
    }

    async fn conversation(&self, user_id: UserId, title: &str, temporary: bool) -> ConversationId {
        let title = title.to_owned();
        let new = New { user_id, title, temporary, persona_id: None, system_prompt: String::new(), key: None };
        creation::create(&self.store, new, self.now).await.expect("created").0.id
    }

    /// Stores a message with its entry in the index.
    async fn say(&self, conversation: ConversationId, text: &str) -> MessageId {
        let id = MessageId::new(self.now);
        let mut tx = self.store.begin().await.expect("a transaction");
        sqlx::query(
            "INSERT INTO messages (id, conversation_id, parent_id, role, version, content, state, created_at)
             SELECT $1, $2, '', 'user', COUNT(*) + 1, $3, 'complete', CAST($4 AS BIGINT) FROM messages
             WHERE conversation_id = $2",
        )
        .bind(id.to_string())
        .bind(conversation.to_string())
        .bind(text)
        .bind(micros(self.now))
        .execute(&mut *tx)
        .await
        .expect("stored");
        index(&mut tx, conversation, Some(id), text).await.expect("indexed");
        tx.commit().await.expect("stored");
        id
    }

    async fn hits(&self, user: UserId, query: &str) -> Vec<Hit> {
        let Some(query) = Query::new(query) else { return Vec::new() };
        search(&self.store, user, &query, None, 100).await.expect("results")
    }

    /// The snippets of all results.
    async fn found(&self, user: UserId, query: &str) -> Vec<String> {
        self.hits(user, query).await.into_iter().map(|hit| hit.snippet.text).collect()
    }
}

fn user() -> UserId {
    UserId::from(Uuid::now_v7())
}

async fn words_are_found_in_any_case_and_form(database: Database) {
    let (world, user) = (World::new(&database).await, user());
    let id = world.conversation(user, "", false).await;
    for text in ["Der Ölstand", "fu\u{308}r MICH", "ΟΔΟΣ", "東京タワー", "Fault P0301, cylinder-1", "straße"]
    {
        world.say(id, text).await;
    }
    for (query, text) in [
        ("ölstand", "Der Ölstand"),
        ("ÖLSTAND", "Der Ölstand"),
        ("O\u{308}lstand", "Der Ölstand"),
        ("für", "fu\u{308}r MICH"),
        ("FÜR mich", "fu\u{308}r MICH"),
        ("οδος", "ΟΔΟΣ"),
        ("京タ", "東京タワー"),
        ("p0301", "Fault P0301, cylinder-1"),
        ("cylinder 1", "Fault P0301, cylinder-1"),
        ("\"cylinder-1\"", "Fault P0301, cylinder-1"),
        ("STRAßE", "straße"),
    ] {
        assert_eq!(world.found(user, query).await, [text], "{query}");
    }
    for query in ["olstand", "stand", "0301", "und"] {
        assert!(world.found(user, query).await.is_empty(), "{query}");
    }
}

async fn every_word_must_be_there_and_the_last_one_may_be_a_beginning(database: Database) {
    let (world, user) = (World::new(&database).await, user());
    let id = world.conversation(user, "", false).await;
    for text in ["battery is low", "battery is full", "low oil", "batteries"] {
        world.say(id, text).await;
    }
    for (query, texts) in [
        ("battery low", &["battery is low"][..]),
        ("low battery", &["battery is low"]),
        ("batter", &["batteries", "battery is full", "battery is low"]),
        ("is fu", &["battery is full"]),
        ("ba full", &[]),
        ("low low low o", &["low oil"]),
        ("", &[]),
        (" .,*\" ", &[]),
    ] {
        assert_eq!(world.found(user, query).await, texts, "{query}");
    }
}

async fn the_newest_come_first_in_pages(database: Database) {
    let (world, user) = (World::new(&database).await, user());
    let (one, two) = (world.conversation(user, "", false).await, world.conversation(user, "", false).await);
    for n in 0..9 {
        world.say(if n % 2 == 0 { one } else { two }, &format!("brake {n}")).await;
    }
    let query = Query::new("brake").expect("a word");
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let page = search(&world.store, user, &query, after, 4).await.expect("results");
        let Some(last) = page.last() else { break };
        after = Some(last.n);
        found.extend(page.into_iter().map(|hit| hit.snippet.text));
    }
    let newest: Vec<_> = (0..9).rev().map(|n| format!("brake {n}")).collect();
    assert_eq!(found, newest);
}

async fn a_title_is_found_as_it_is_now(database: Database) {
    let (world, user) = (World::new(&database).await, user());
    let id = world.conversation(user, "Brakes of a Golf", false).await;
    let [hit] = world.hits(user, "brakes").await.try_into().expect("one");
    assert_eq!((hit.conversation_id, hit.title.as_str(), hit.message_id), (id, "Brakes of a Golf", None));
    assert_eq!((hit.snippet, hit.role.as_str(), hit.created_at), (Snippet::default(), "", world.now));
    world.say(id, &format!("They squeal. {}", "ü".repeat(200))).await;
    world.say(id, "another version of it").await;
    let [hit] = world.hits(user, "golf").await.try_into().expect("one");
    assert_eq!(hit.snippet.text, format!("They squeal. {}", "ü".repeat(137)));
    assert_eq!(hit.role, "user");
    let changes = Changes { title: Some("Squealing brakes".to_owned()), ..Changes::default() };
    assert!(matches!(
        changes::update(&world.store, id, user, changes, world.now).await.expect("changed"),
        changes::Updated::Done(_)
    ));
    assert!(world.hits(user, "golf").await.is_empty());
    assert_eq!(world.hits(user, "squealing").await.len(), 1);
    // A title of the user stays.
    let mut tx = world.store.begin().await.expect("a transaction");
    assert!(!changes::retitle(&mut tx, id, "Worse", world.now).await.expect("unchanged"));
    tx.commit().await.expect("stored");
    assert_eq!(world.hits(user, "squealing").await.len(), 1);
}

async fn only_the_users_own_texts_are_found(database: Database) {
    let (world, one, two) = (World::new(&database).await, user(), user());
    // The same bits that begin each word in the index.
    let twin = UserId::from(Uuid::from_u128(Uuid::from(one).as_u128() ^ (1 << 70)));
    for user in [one, two, twin] {
        let id = world.conversation(user, "Brakes", false).await;
        world.say(id, &format!("The brakes of {user}")).await;
    }
    for user in [one, two, twin] {
        assert_eq!(
            world.found(user, "brakes").await,
            [format!("The brakes of {user}"), format!("The brakes of {user}")]
        );
        assert!(world.hits(user, "b").await.iter().all(|hit| hit.snippet.text.ends_with(&user.to_string())));
    }
    assert!(world.found(user(), "brakes").await.is_empty());
}

async fn temporary_conversations_are_not_found(database: Database) {
    let (world, user) = (World::new(&database).await, user());
    let id = world.conversation(user, "Secret", true).await;
    world.say(id, "secret").await;
    assert!(world.found(user, "secret").await.is_empty());
}

async fn a_text_that_changes_is_found_as_it_is_now(database: Database) {
    let (world, user) = (World::new(&database).await, user());
    let id = world.conversation(user, "", false).await;
    let message = world.say(id, "partial").await;
    let mut tx = world.store.begin().await.expect("a transaction");
    for text in ["complete", "complete and final", ""] {
        index(&mut tx, id, Some(message), text).await.expect("indexed");
    }
    index(&mut tx, id, Some(message), "complete and final").await.expect("indexed");
    tx.commit().await.expect("stored");
    assert!(world.found(user, "partial").await.is_empty());
    assert_eq!(world.hits(user, "final").await.len(), 1);
}

async fn what_is_deleted_is_not_found(database: Database) {
    let (world, user) = (World::new(&database).await, user());
    let id = world.conversation(user, "Brakes", false).await;
    world.say(id, "brakes").await;
    assert!(removal::delete(&world.store, id, user, world.now).await.expect("deleted"));
    assert!(world.found(user, "brakes").await.is_empty());
    let left: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM search_entries")
        .fetch_one(world.store.reader())
        .await
        .expect("a number");
    assert_eq!(left, 0);
    if world.store.backend() == Backend::Sqlite {
        let words = sqlx::query("SELECT rowid FROM search_words WHERE search_words MATCH 'brakes*'");
        assert!(words.fetch_all(world.store.reader()).await.expect("a search").is_empty());
    }
}

async fn no_text_is_syntax(database: Database) {
    let (world, user) = (World::new(&database).await, user());
    let id = world.conversation(user, "", false).await;
    let hostile =
        "a\" OR words:* NEAR(b c) -d ^e {f} + (g) 'h' & !i | j <-> k:* \\ %_ -- ; AND NOT DROP TABLE messages";
    world.say(id, hostile).await;
    for query in [
        hostile,
        "'",
        "\"",
        "*",
        "a* b",
        "NEAR",
        "AND",
        "NOT",
        "words : a",
        "a:*",
        "!i",
        "a & b",
        "k:*",
        "\\",
        "\u{0}a",
    ] {
        let found = world.found(user, query).await;
        assert_eq!(found.len(), usize::from(Query::new(query).is_some()), "{query}");
    }
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() });
    let runtime = tokio::runtime::Handle::current();
    let any = proptest::prop_oneof![any::<String>(), "[\\PC'\"*:&|!()<>\\\\-]{0,20}"];
    tokio::task::block_in_place(|| {
        runner.run(&any, |text| {
            let text = text.replace('\0', " ");
            runtime.block_on(async {
                world.say(id, &text).await;
                if Query::new(&text).is_some() {
                    let first = &world.hits(user, &text).await[0];
                    prop_assert!(
                        first.snippet.text.contains(text.trim().chars().next().expect("text"))
                            || text.contains(char::is_control)
                    );
                }
                Ok(())
            })
        })
    })
    .expect("no query fails, and each text finds itself");
}

async fn a_text_of_any_length_is_indexed(database: Database) {
    let (world, user) = (World::new(&database).await, user());
    let id = world.conversation(user, "", false).await;
    let different: Vec<_> = (0..200_000).map(|n| format!("w{n}")).collect();
    world.say(id, &different.join(" ")).await;
    world.say(id, &"x".repeat(1 << 20)).await;
    world.say(id, &"🚗 brake ".repeat(100_000)).await;
    assert_eq!(world.hits(user, "w17").await.len(), 1);
    assert_eq!(world.hits(user, &"x".repeat(100)).await.len(), 1);
    let [hit] = world.hits(user, "brake").await.try_into().expect("one");
    assert!(hit.snippet.text.chars().count() < 140);
}
