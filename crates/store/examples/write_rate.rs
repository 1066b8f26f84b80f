//! How many durable writes a second a database takes, each in a transaction of its own, and by group commit:
//! `cargo run --release -p turnpike-store --example write_rate -- sqlite:/tmp/x.db 64 5` (URL, callers at once, seconds).

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{AnyConnection, Error, migrate::Migrator};
use tokio::task::JoinSet;
use turnpike_kit::{Clock, Environment, Process};
use turnpike_store::{Migrations, Store, Write, rows};

static SQLITE: Migrator = sqlx::migrate!("tests/it/migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("tests/it/migrations/postgres");

struct Note(i64);

impl Write for Note {
    type Output = ();

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<()>, Error> {
        let sql = format!("INSERT INTO notes (id, text) VALUES {}", rows(writes.len(), &["", ""]));
        let mut insert = sqlx::query(sqlx::AssertSqlSafe(sql));
        for Self(id) in writes {
            insert = insert.bind(*id).bind("some text that is not much longer than this");
        }
        insert.execute(&mut *on).await?;
        Ok(vec![(); writes.len()])
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "sqlite::memory:".to_owned());
    let callers: usize = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let seconds: u64 = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let store = Store::open(&url, Migrations { sqlite: &SQLITE, postgres: &POSTGRES }).await?;
    sqlx::query("DELETE FROM notes").execute(store.pool()).await?;
    let next = Arc::new(AtomicI64::new(0));
    println!("each in its own transaction: {:.0} a second", rate(&store, &next, callers, seconds).await);
    let process = Process::new(Environment::default(), Clock::system())?;
    store.serve(&process);
    println!("group commit: {:.0} a second", rate(&store, &next, callers, seconds).await);
    process.stop(Duration::from_secs(5)).await;
    Ok(())
}

async fn rate(store: &Store, next: &Arc<AtomicI64>, callers: usize, seconds: u64) -> f64 {
    let (started, end) = (Instant::now(), Duration::from_secs(seconds));
    let written = Arc::new(AtomicI64::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..callers {
        let (store, next, written) = (store.clone(), next.clone(), written.clone());
        workers.spawn(async move {
            while started.elapsed() < end {
                let note = Note(next.fetch_add(1, Ordering::Relaxed));
                // A caller that waits too long for a connection gets an error; that is not counted.
                written.fetch_add(i64::from(store.write(note).await.is_ok()), Ordering::Relaxed);
            }
        });
    }
    workers.join_all().await;
    written.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}
