//! Every wait is bounded: the settings of each connection, and conflicts between transactions.

use std::{sync::Arc, time::Duration};

use sqlx::Row;
use tokio::{sync::Barrier, task::JoinSet, time::timeout};
use turnpike_store::is_unavailable;
use turnpike_testkit::{Database, within};

use crate::open;

#[tokio::test]
async fn a_file_is_opened_with_the_documented_settings() {
    let database = Database::sqlite();
    let store = open(database.url()).await.expect("a store");
    for (pragma, value) in [("synchronous", 2), ("busy_timeout", 3000), ("foreign_keys", 1)] {
        let sql = sqlx::AssertSqlSafe(format!("PRAGMA {pragma}"));
        let row = sqlx::query(sql).fetch_one(store.pool()).await.expect(pragma);
        assert_eq!(row.get::<i64, _>(0), value, "{pragma}");
    }
    let row = sqlx::query("PRAGMA journal_mode").fetch_one(store.pool()).await.expect("journal_mode");
    assert_eq!(row.get::<String, _>(0), "wal");
}

/// `.cargo/config.toml` sets the flag. Without it, each new value of a range parses and plans its statement again.
#[tokio::test]
async fn sqlite_plans_a_statement_once() {
    let database = Database::sqlite();
    let store = open(database.url()).await.expect("a store");
    let query = sqlx::query("SELECT sqlite_compileoption_used('ENABLE_QPSG')");
    let row = query.fetch_one(store.pool()).await.expect("the options of SQLite");
    assert_eq!(row.get::<i64, _>(0), 1);
}

/// Also on the connections that come after the migrations, which may take longer.
#[tokio::test]
async fn a_statement_on_a_server_is_bounded() {
    let database = Database::postgres().await;
    let store = open(database.url()).await.expect("a store");
    let mut connections = Vec::new();
    for _ in 0..3 {
        let mut connection = store.pool().acquire().await.expect("a connection");
        for (name, value) in [("statement_timeout", "3s"), ("idle_in_transaction_session_timeout", "5s")] {
            let sql = sqlx::AssertSqlSafe(format!("SHOW {name}"));
            let row = sqlx::query(sql).fetch_one(&mut *connection).await.expect(name);
            assert_eq!(row.get::<String, _>(0), value, "{name}");
        }
        connections.push(connection);
    }
}

/// Two processes on one file: a transaction that writes takes the lock at its beginning, so none fails halfway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_locked_from_the_beginning() {
    let database = Database::sqlite();
    let (one, other) = (open(database.url()).await.expect("a store"), open(database.url()).await.expect("another"));
    let first = one.begin().await.expect("begun");
    let second = timeout(Duration::from_millis(100), other.begin()).await;
    assert!(second.is_err(), "the second waits before it has done anything");
    drop(first);
    within("its turn", 3, other.begin()).await.expect("begun");
}

/// Of two transactions that wait for each other, Postgres rolls one back; its caller may try again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_transactions_that_wait_for_each_other_may_be_tried_again() {
    let database = Database::postgres().await;
    let store = open(database.url()).await.expect("a store");
    sqlx::query("INSERT INTO counters (name, n) VALUES ('readers', 0)").execute(store.pool()).await.expect("written");
    let (mut ends, both) = (JoinSet::new(), Arc::new(Barrier::new(2)));
    for (first, then) in [("readers", "writers"), ("writers", "readers")] {
        let (store, both) = (store.clone(), both.clone());
        ends.spawn(async move {
            let mut tx = store.begin().await?;
            let add = |name| sqlx::query("UPDATE counters SET n = n + 1 WHERE name = $1").bind(name);
            add(first).execute(&mut *tx).await?;
            both.wait().await;
            add(then).execute(&mut *tx).await?;
            tx.commit().await
        });
    }
    let ends = within("Postgres to decide", 10, ends.join_all()).await;
    let errors: Vec<sqlx::Error> = ends.into_iter().filter_map(Result::err).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors.iter().all(is_unavailable), "{errors:?}");
}
