//! Opening: the first instance creates the tables, and no error shows a password.

use std::{error::Error, os::unix::fs::PermissionsExt, time::Duration};

use tempfile::TempDir;
use tokio::task::JoinSet;
use turnpike_store::{Backend, OpenError};
use turnpike_testkit::{Database, Host};

use crate::{count, open};

turnpike_testkit::on_both!(several_instances_may_open_a_database_at_once, a_second_opening_finds_the_data_of_the_first);

async fn several_instances_may_open_a_database_at_once(database: Database) {
    let mut openers = JoinSet::new();
    for _ in 0..6 {
        let url = database.url().to_owned();
        openers.spawn(async move { open(&url).await });
    }
    for store in openers.join_all().await {
        let store = store.expect("each of them opens it");
        assert!(store.answers().await);
        assert_eq!(count(&store, "counters").await, 1, "the migrations ran once");
    }
}

async fn a_second_opening_finds_the_data_of_the_first(database: Database) {
    let first = open(database.url()).await.expect("a store");
    let backend = if database.url().starts_with("sqlite:") { Backend::Sqlite } else { Backend::Postgres };
    assert_eq!(first.backend(), backend);
    sqlx::query("INSERT INTO notes (id, text) VALUES ($1, $2)")
        .bind(1_i64)
        .bind("kept")
        .execute(first.pool())
        .await
        .expect("written");
    first.close().await;
    assert!(!first.answers().await, "closed");
    let second = open(database.url()).await.expect("the store again");
    assert_eq!(count(&second, "notes").await, 1);
}

#[tokio::test]
async fn only_the_owner_can_read_a_database_file() {
    for name in ["plain.db", "new folder/with space.db", "größe/a+b.db", "100%25.db", "50%.db"] {
        let folder = TempDir::new().expect("a directory");
        let path = folder.path().join(name);
        let store = open(&format!("sqlite:{}", path.display())).await.expect(name);
        sqlx::query("INSERT INTO notes (id, text) VALUES (1, 'x')").execute(store.pool()).await.expect("written");
        let beside: Vec<_> = path.parent().expect("a folder").read_dir().expect("a folder").collect();
        assert!(beside.len() >= 2, "the file and its log: {beside:?}");
        for entry in beside {
            let entry = entry.expect("an entry");
            assert!(
                entry.path().display().to_string().starts_with(&path.display().to_string()),
                "{entry:?} is not {name}"
            );
            let mode = entry.metadata().expect("its mode").permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{entry:?}");
        }
    }
}

#[tokio::test]
async fn a_store_in_memory_lasts_as_long_as_it_is_open() {
    let store = open("sqlite::memory:").await.expect("a store");
    sqlx::query("INSERT INTO notes (id, text) VALUES (1, 'x')").execute(store.pool()).await.expect("written");
    for _ in 0..20 {
        assert_eq!(count(&store, "notes").await, 1);
    }
    let other = open("sqlite::memory:").await.expect("another one");
    assert_eq!(count(&other, "notes").await, 0);
}

/// The error and everything behind it, as a log would show it.
fn whole(error: &OpenError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(" {cause} {cause:?}"));
        source = cause.source();
    }
    text
}

#[tokio::test]
async fn an_opening_error_names_the_cause_and_shows_no_password() {
    let host = Host::claim();
    let urls = [
        format!("postgres://someone:hunter2@{}/nobody-home", host.address(0)),
        "postgres://someone:hunter2@127.0.0.1:notaport/db".to_owned(),
        "postgres://someone:hunter2@[half/db".to_owned(),
        "postgres://someone:hunter2@127.0.0.1/db?sslmode=whatever".to_owned(),
        "mysql://someone:hunter2@127.0.0.1/db".to_owned(),
        "hunter2".to_owned(),
        "sqlite:/proc/nowhere/x.db?password=hunter2".to_owned(),
    ];
    for url in urls {
        let opening = tokio::time::timeout(Duration::from_secs(10), open(&url)).await.expect("an answer");
        let error = opening.expect_err(&url);
        let text = whole(&error);
        assert!(!text.contains("hunter2"), "{url}: {text}");
    }
    let unknown = open("mysql://localhost").await.expect_err("refused");
    assert!(matches!(unknown, OpenError::UnknownScheme), "{unknown}");
    let file = open("sqlite:/proc/nowhere/x.db").await.expect_err("refused");
    assert_eq!(file.to_string(), "the database file /proc/nowhere/x.db cannot be created");
}
