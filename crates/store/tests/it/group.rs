//! Group commit: writes share transactions and statements; each is performed once or not at all, and fails by itself.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use proptest::{collection::vec, prelude::*, strategy::ValueTree, test_runner::TestRunner};
use sqlx::{AnyConnection, Error};
use tokio::{sync::Barrier, task::JoinSet};
use turnpike_kit::{Clock, Environment, Process};
use turnpike_store::{Store, Write, is_unavailable, rows};
use turnpike_testkit::{Database, Proxy, eventually, within};

use crate::{count, open};

turnpike_testkit::on_both!(
    writes_that_wait_share_their_statements,
    each_write_is_made_once_or_fails_alone,
    a_caller_that_has_gone_has_not_written,
    writes_go_on_after_the_stop,
);

/// A note. One without text breaks a constraint; number 13 breaks only after it was written.
struct Note {
    id: i64,
    text: Option<&'static str>,
    performed: Arc<AtomicUsize>,
}

impl Write for Note {
    type Output = i64;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<i64>, Error> {
        writes[0].performed.fetch_add(1, Ordering::Relaxed);
        let sql = format!("INSERT INTO notes (id, text) VALUES {}", rows(writes.len(), &["", ""]));
        let mut insert = sqlx::query(sqlx::AssertSqlSafe(sql));
        for note in writes {
            insert = insert.bind(note.id).bind(note.text);
        }
        insert.execute(&mut *on).await?;
        match writes.iter().any(|note| note.id % 100 == 13) {
            true => Err(Error::RowNotFound),
            false => Ok(writes.iter().map(|note| note.id).collect()),
        }
    }
}

/// A write of another kind, which lets notes go first.
struct Count;

impl Write for Count {
    const DEFERRABLE: bool = true;

    type Output = ();

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<()>, Error> {
        let more = i64::try_from(writes.len()).expect("a few");
        sqlx::query("UPDATE counters SET n = n + $1 WHERE name = 'writers'").bind(more).execute(&mut *on).await?;
        Ok(vec![(); writes.len()])
    }
}

/// Changes two rows of `counters`, in this order. The first attempts of all wait for one another in between.
struct Both {
    names: [&'static str; 2],
    first: Arc<AtomicUsize>,
    meeting: Arc<Barrier>,
}

impl Write for Both {
    type Output = ();

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<()>, Error> {
        for Self { names, first, meeting } in writes {
            for (name, at) in names.iter().zip(0..) {
                if at == 1 && first.fetch_add(1, Ordering::Relaxed) == 0 {
                    meeting.wait().await;
                }
                sqlx::query("UPDATE counters SET n = n + 1 WHERE name = $1").bind(*name).execute(&mut *on).await?;
            }
        }
        Ok(vec![(); writes.len()])
    }
}

/// SQLite has one writer, so that two transactions never wait for each other.
#[tokio::test]
async fn batches_of_two_instances_that_wait_for_each_other_are_both_written() {
    let database = Database::postgres().await;
    let ((one, one_process), (other, other_process)) = (served(&database).await, served(&database).await);
    both_are_written(&one, &other).await;
    for process in [one_process, other_process] {
        assert!(process.stop(Duration::from_secs(5)).await);
    }
}

#[tokio::test]
async fn writes_without_a_queue_that_wait_for_each_other_are_both_written() {
    let database = Database::postgres().await;
    let one = open(database.url()).await.expect("a store");
    let other = open(database.url()).await.expect("a store");
    both_are_written(&one, &other).await;
}

async fn both_are_written(one: &Store, other: &Store) {
    sqlx::query("INSERT INTO counters (name, n) VALUES ('second', 0)").execute(one.pool()).await.expect("inserted");
    let meeting = Arc::new(Barrier::new(2));
    let both = |names| Both { names, first: Arc::default(), meeting: meeting.clone() };
    let (there, back) = (both(["writers", "second"]), both(["second", "writers"]));
    let written = futures_util::future::join(one.write(there), other.write(back));
    let (there, back) = within("both writes", 20, written).await;
    there.expect("written");
    back.expect("written");
    let sum = "SELECT CAST(SUM(n) AS BIGINT) FROM counters";
    let sum: i64 = sqlx::query_scalar(sum).fetch_one(one.pool()).await.expect("a sum");
    assert_eq!(sum, 4);
}

async fn served(database: &Database) -> (Store, Process) {
    let store = open(database.url()).await.expect("a store");
    let process = Process::new(Environment::default(), Clock::system()).expect("a process");
    store.serve(&process);
    tokio::task::yield_now().await; // on this runtime of one thread, the task that serves the queue runs now
    (store, process)
}

/// Starts writes while the task waits for the connection, so that they share a batch.
async fn gather(store: &Store, notes: Vec<(i64, Option<&'static str>)>) -> (Vec<Result<i64, Error>>, usize) {
    let performed = Arc::new(AtomicUsize::new(0));
    let mut all = Vec::new();
    let mut busy = Vec::new();
    for _ in 0..store.pool().options().get_max_connections() {
        busy.push(store.begin().await.expect("a transaction"));
    }
    for (id, text) in notes {
        let (store, performed) = (store.clone(), performed.clone());
        all.push(Box::pin(async move { store.write(Note { id, text, performed }).await }));
    }
    let all = futures_util::future::join_all(all);
    let mut all = std::pin::pin!(all);
    assert!(futures_util::poll!(&mut all).is_pending());
    drop(busy);
    (within("the writes", 10, all).await, performed.load(Ordering::Relaxed))
}

async fn writes_that_wait_share_their_statements(database: Database) {
    let (store, process) = served(&database).await;
    within("the task to run", 5, store.write(Count)).await.expect("written");
    let (answers, performed) = gather(&store, (1..=10).map(|id| (id, Some("x"))).collect()).await;
    assert!(answers.iter().zip(1..).all(|(answer, id)| answer.as_ref().is_ok_and(|output| *output == id)));
    // Eight and two; the task may have begun to wait with the first ones.
    assert!(performed <= 5, "{performed} calls");
    assert_eq!(count(&store, "notes").await, 10);
    // Without anything that holds them up, too: a thousand by a hundred callers.
    let performed = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for caller in 1..=100 {
        let (store, performed) = (store.clone(), performed.clone());
        callers.spawn(async move {
            for n in 0..10 {
                let note = Note { id: caller * 1000 + n * 20, text: Some("x"), performed: performed.clone() };
                assert_eq!(store.write(note).await.expect("written"), caller * 1000 + n * 20);
                store.write(Count).await.expect("written");
            }
        });
    }
    within("all of them", 30, callers.join_all()).await;
    assert_eq!(count(&store, "notes").await, 1010);
    let counted: i64 = sqlx::query_scalar("SELECT n FROM counters").fetch_one(store.reader()).await.expect("a number");
    assert_eq!(counted, 1001, "of either kind");
    assert!(performed.load(Ordering::Relaxed) < 500, "{performed:?} calls");
    assert!(process.stop(Duration::from_secs(5)).await);
}

async fn each_write_is_made_once_or_fails_alone(database: Database) {
    let (store, process) = served(&database).await;
    within("the task to run", 5, store.write(Count)).await.expect("written");
    let mut runner = TestRunner::new(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() });
    let some = vec((1..60_i64, prop::bool::weighted(0.9)), 1..20);
    for _ in 0..24 {
        let notes = some.new_tree(&mut runner).expect("a value").current();
        sqlx::query("DELETE FROM notes").execute(store.pool()).await.expect("emptied");
        let texts = notes.iter().map(|(id, good)| (*id, good.then_some("x"))).collect();
        let (answers, _) = gather(&store, texts).await;
        let mut written = BTreeSet::new();
        for ((id, good), answer) in notes.iter().zip(&answers) {
            // Of two with one id the first is written, independently of the others.
            let fits = *good && id % 100 != 13 && !written.contains(id);
            assert_eq!(answer.is_ok(), fits, "{id} of {notes:?}: {answer:?}");
            if fits {
                written.insert(*id);
            }
        }
        let kept: Vec<i64> =
            sqlx::query_scalar("SELECT id FROM notes ORDER BY id").fetch_all(store.reader()).await.expect("ids");
        assert_eq!(kept, written.into_iter().collect::<Vec<_>>(), "{notes:?}");
    }
    assert!(process.stop(Duration::from_secs(5)).await);
}

async fn a_caller_that_has_gone_has_not_written(database: Database) {
    let (store, process) = served(&database).await;
    within("the task to run", 5, store.write(Count)).await.expect("written");
    let performed = Arc::new(AtomicUsize::new(0));
    let mut busy = Vec::new();
    for _ in 0..store.pool().options().get_max_connections() {
        busy.push(store.begin().await.expect("a transaction"));
    }
    // The task takes this one, and waits for a connection.
    let mut first = Box::pin(store.write(Note { id: 1, text: Some("x"), performed: performed.clone() }));
    assert!(futures_util::poll!(&mut first).is_pending());
    let mut gone = Box::pin(store.write(Note { id: 2, text: Some("x"), performed: performed.clone() }));
    assert!(futures_util::poll!(&mut gone).is_pending());
    drop(gone);
    drop(busy);
    within("the first", 5, first).await.expect("written");
    store.write(Count).await.expect("written");
    let kept: Vec<i64> = sqlx::query_scalar("SELECT id FROM notes").fetch_all(store.reader()).await.expect("ids");
    assert_eq!(kept, [1]);
    assert!(process.stop(Duration::from_secs(5)).await);
}

async fn writes_go_on_after_the_stop(database: Database) {
    let (store, process) = served(&database).await;
    let mut callers = JoinSet::new();
    for _ in 0..20 {
        let store = store.clone();
        callers.spawn(async move {
            for _ in 0..20 {
                store.write(Count).await.expect("written");
            }
        });
    }
    assert!(process.stop(Duration::from_secs(5)).await);
    within("all of them", 10, callers.join_all()).await;
    store.write(Count).await.expect("written");
    let counted: i64 = sqlx::query_scalar("SELECT n FROM counters").fetch_one(store.reader()).await.expect("a number");
    assert_eq!(counted, 401);
}

/// Every caller of a lost batch gets an error, and later writes succeed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_lost_is_reported_to_every_caller() {
    let database = Database::postgres().await;
    let proxy = Proxy::to(database.url()).await;
    let store = open(proxy.url()).await.expect("a store");
    let process = Process::new(Environment::default(), Clock::system()).expect("a process");
    store.serve(&process);
    store.write(Count).await.expect("written");
    proxy.stall();
    let mut callers = JoinSet::new();
    for _ in 0..50 {
        let store = store.clone();
        callers.spawn(async move { store.write(Count).await });
    }
    for answer in within("an answer to each", 20, callers.join_all()).await {
        let error = answer.expect_err("silence");
        assert!(is_unavailable(&error), "{error}");
    }
    proxy.stall_open_connections();
    eventually("the server to be used again", 10, || async { store.write(Count).await.ok() }).await;
}

/// A reader of a file waits for no writer, sees what was committed, and cannot write.
#[tokio::test]
async fn readers_and_the_writer_of_a_file_do_not_wait_for_each_other() {
    let database = Database::sqlite();
    let store = open(database.url()).await.expect("a store");
    let mut tx = store.begin().await.expect("a transaction");
    sqlx::query("INSERT INTO notes (id, text) VALUES (1, 'x')").execute(&mut *tx).await.expect("written");
    let notes = || async {
        let count = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM notes").fetch_one(store.reader());
        within("a reader", 1, count).await.expect("a number")
    };
    assert_eq!(notes().await, 0, "not committed");
    tx.commit().await.expect("committed");
    assert_eq!(notes().await, 1);
    sqlx::query("DELETE FROM notes").execute(store.reader()).await.expect_err("a reader only reads");
}
