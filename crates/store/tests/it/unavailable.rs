//! A database that becomes unavailable: reported in time, and used again as soon as it answers.

use std::{
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::timeout};
use tracing_subscriber::fmt::MakeWriter;
use turnpike_fault::Kind;
use turnpike_store::{Store, fault};
use turnpike_testkit::{Database, Proxy, eventually, within};

use crate::open;

/// What a caller gets, and after which time.
async fn read(store: &Store) -> (Result<(), Kind>, Duration) {
    let began = Instant::now();
    let read = sqlx::query("SELECT n FROM counters").fetch_one(store.pool()).await;
    (read.map(|_| ()).map_err(|error| fault(error).kind()), began.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_server_is_reported_within_three_seconds_and_used_again() {
    let database = Database::postgres().await;
    let proxy = Proxy::to(database.url()).await;
    let store = open(proxy.url()).await.expect("a store");
    for _ in 0..2 {
        assert!(store.answers().await);
        proxy.disconnect();
        let mut callers = JoinSet::new();
        for _ in 0..40 {
            let store = store.clone();
            callers.spawn(async move { read(&store).await });
        }
        for (outcome, waited) in callers.join_all().await {
            assert_eq!(outcome, Err(Kind::Unavailable));
            assert!(waited < Duration::from_secs(3), "{waited:?}");
        }
        assert!(!store.answers().await);
        proxy.restore();
        eventually("the server to be used again", 5, || async { read(&store).await.0.ok() }).await;
    }
}

/// The worse case: the connections stay open without an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_is_reported_within_three_seconds_and_used_again() {
    let database = Database::postgres().await;
    let proxy = Proxy::to(database.url()).await;
    let store = open(proxy.url()).await.expect("a store");
    drop(connections(&store, 16).await); // all at rest
    proxy.stall();
    let mut callers = JoinSet::new();
    for _ in 0..40 {
        let store = store.clone();
        callers.spawn(async move { read(&store).await });
    }
    for (outcome, waited) in callers.join_all().await {
        assert_eq!(outcome, Err(Kind::Unavailable));
        assert!(waited < Duration::from_secs(3), "{waited:?}");
    }
    proxy.restore();
    eventually("the server to be used again", 5, || async { read(&store).await.0.ok() }).await;
}

/// Callers that stop waiting do not use up the connections of the pool.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abandoned_statements_do_not_use_up_the_connections() {
    let database = Database::postgres().await;
    let proxy = Proxy::to(database.url()).await;
    let store = open(proxy.url()).await.expect("a store");
    let busy = connections(&store, 16).await;
    proxy.stall();
    for mut connection in busy {
        // The caller's deadline passes while the statement is under way.
        let statement = sqlx::query("SELECT n FROM counters").fetch_one(&mut *connection);
        assert!(timeout(Duration::from_millis(5), statement).await.is_err(), "silence");
    }
    proxy.stall_open_connections();
    eventually("new connections in place of the dead", 10, || async { read(&store).await.0.ok() }).await;
}

async fn connections(store: &Store, many: usize) -> Vec<sqlx::pool::PoolConnection<sqlx::Any>> {
    let mut connections = Vec::new();
    for _ in 0..many {
        connections.push(within("a connection", 5, store.pool().acquire()).await.expect("a connection"));
    }
    connections
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_failure_is_logged_once() {
    let database = Database::sqlite();
    let store = open(database.url()).await.expect("a store");
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let error = sqlx::query("SELECT 1 FROM nowhere").execute(store.pool()).await.expect_err("wrong");
    let fault = fault(error);
    assert_eq!(fault.kind(), Kind::Internal);
    let log = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("text");
    assert_eq!(log.lines().filter(|line| line.contains("nowhere")).count(), 1, "{log}");
}
