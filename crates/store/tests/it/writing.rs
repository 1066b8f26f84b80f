//! Transactions: complete or not at all, also in parallel.

use jiff::Timestamp;
use sqlx::Row;
use tokio::task::JoinSet;
use turnpike_fault::Kind;
use turnpike_store::{fault, from_micros, is_unavailable, micros};
use turnpike_testkit::Database;

use crate::{count, open};

turnpike_testkit::on_both!(
    an_uncommitted_write_is_not_stored,
    parallel_writers_lose_no_update,
    a_wrong_statement_is_an_internal_fault_that_shows_nothing,
    a_closed_store_is_unavailable,
);

async fn an_uncommitted_write_is_not_stored(database: Database) {
    let store = open(database.url()).await.expect("a store");
    for _ in 0..10 {
        let mut tx = store.begin().await.expect("a transaction");
        sqlx::query("INSERT INTO notes (id, text) VALUES (1, 'x')").execute(&mut *tx).await.expect("written");
        drop(tx);
    }
    assert_eq!(count(&store, "notes").await, 0);
    let mut tx = store.begin().await.expect("no lock is left behind");
    sqlx::query("INSERT INTO notes (id, text) VALUES (1, 'x')").execute(&mut *tx).await.expect("written");
    tx.commit().await.expect("committed");
    assert_eq!(count(&store, "notes").await, 1);
}

/// Read, then write, in one transaction, by two stores on the same database: no update is lost and none fails.
async fn parallel_writers_lose_no_update(database: Database) {
    const WRITERS: i64 = 8;
    const EACH: i64 = 10;
    let stores = [open(database.url()).await.expect("a store"), open(database.url()).await.expect("another")];
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = stores[usize::from(writer % 2 == 0)].clone();
        writers.spawn(async move {
            for n in 0..EACH {
                let mut tx = store.begin().await?;
                // Postgres locks the row here, SQLite the file above.
                sqlx::query("UPDATE counters SET n = n + 0 WHERE name = 'writers'").execute(&mut *tx).await?;
                let row = sqlx::query("SELECT n FROM counters WHERE name = 'writers'").fetch_one(&mut *tx).await?;
                sqlx::query("UPDATE counters SET n = $1 WHERE name = 'writers'")
                    .bind(row.try_get::<i64, _>("n")? + 1)
                    .execute(&mut *tx)
                    .await?;
                sqlx::query("INSERT INTO notes (id, text) VALUES ($1, 'x')")
                    .bind(writer * EACH + n)
                    .execute(&mut *tx)
                    .await?;
                tx.commit().await?;
            }
            Ok::<_, sqlx::Error>(())
        });
    }
    for writer in writers.join_all().await {
        writer.expect("no writer is turned away");
    }
    assert_eq!(count(&stores[0], "notes").await, WRITERS * EACH);
    let counted: i64 =
        sqlx::query_scalar("SELECT n FROM counters").fetch_one(stores[0].pool()).await.expect("the counter");
    assert_eq!(counted, WRITERS * EACH, "no update was lost");
}

async fn a_wrong_statement_is_an_internal_fault_that_shows_nothing(database: Database) {
    let store = open(database.url()).await.expect("a store");
    for sql in ["SELECT hunter2 FROM notes", "INSERT INTO notes (id, text) VALUES (1, NULL)", "SELEKT"] {
        let error = sqlx::query(sql).execute(store.pool()).await.expect_err("wrong");
        assert!(!is_unavailable(&error), "{error}");
        let fault = fault(error);
        assert_eq!(fault.kind(), Kind::Internal);
        assert!(!fault.to_string().contains("hunter2") && !fault.to_string().contains("notes"), "{fault}");
    }
}

async fn a_closed_store_is_unavailable(database: Database) {
    let store = open(database.url()).await.expect("a store");
    store.close().await;
    let error = store.begin().await.expect_err("closed");
    assert!(is_unavailable(&error), "{error}");
    let fault = fault(error);
    assert_eq!(fault.kind(), Kind::Unavailable);
    assert!(fault.retry_in().is_some());
}

#[test]
fn times_survive_the_database() {
    for text in ["2025-11-21T09:00:00.123456Z", "1970-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z"] {
        let at: Timestamp = text.parse().expect("a time");
        assert_eq!(from_micros(micros(at)), at);
    }
    assert_eq!(from_micros(i64::MAX), Timestamp::UNIX_EPOCH, "what no time is");
}
