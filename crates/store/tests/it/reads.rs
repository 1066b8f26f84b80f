//! Shared reads: reads that wait share statements; each sees what was committed before it began, and fails by itself.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use sqlx::{Error, Row};
use tokio::task::JoinSet;
use turnpike_kit::Tasks;
use turnpike_store::{Read, Reads, Store, rows};
use turnpike_testkit::Database;

use crate::open;

turnpike_testkit::on_both!(
    reads_that_wait_share_their_statements,
    a_read_sees_what_was_committed_before_it,
    each_read_fails_alone,
    after_a_panic_reads_go_on,
);

/// The text of a note. Number 13 fails and number 66 panics.
struct Text {
    id: i64,
    performed: Arc<AtomicUsize>,
}

impl Read for Text {
    type Output = Option<String>;

    async fn perform(reads: &[Self], store: &Store) -> Result<Vec<Option<String>>, Error> {
        reads[0].performed.fetch_add(1, Ordering::Relaxed);
        assert!(reads.iter().all(|read| read.id != 66), "for the test");
        if reads.iter().any(|read| read.id == 13) {
            return Err(Error::ColumnNotFound("for the test".to_owned()));
        }
        let sql = format!("SELECT id, text FROM notes WHERE id IN {}", rows(1, &vec!["BIGINT"; reads.len()]));
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        for read in reads {
            query = query.bind(read.id);
        }
        let found = query.fetch_all(store.reader()).await?;
        let found: HashMap<i64, String> = found.iter().map(|row| (row.get("id"), row.get("text"))).collect();
        Ok(reads.iter().map(|read| found.get(&read.id).cloned()).collect())
    }
}

struct Notes {
    store: Store,
    reads: Reads<Text>,
    performed: Arc<AtomicUsize>,
}

impl Notes {
    async fn open(database: &Database) -> Self {
        let store = open(database.url()).await.expect("opened");
        let reads = Reads::new(&store, &Tasks::default());
        Self { store, reads, performed: Arc::default() }
    }

    async fn insert(&self, id: i64) {
        let sql = "INSERT INTO notes (id, text) VALUES ($1, $2)";
        sqlx::query(sql).bind(id).bind(format!("note {id}")).execute(self.store.pool()).await.expect("stored");
    }

    async fn read(&self, id: i64) -> Result<Option<String>, Error> {
        self.reads.read(Text { id, performed: self.performed.clone() }).await
    }

    /// Reads at the same time.
    async fn read_all(self: &Arc<Self>, ids: impl Iterator<Item = i64>) -> Vec<(i64, Result<Option<String>, Error>)> {
        let mut reading = JoinSet::new();
        for id in ids {
            let notes = self.clone();
            reading.spawn(async move { (id, notes.read(id).await) });
        }
        reading.join_all().await
    }
}

async fn reads_that_wait_share_their_statements(database: Database) {
    let notes = Arc::new(Notes::open(&database).await);
    for id in 0..10 {
        notes.insert(id).await;
    }
    for (id, text) in notes.read_all((0..300).map(|n| n % 12)).await {
        let expected = (id < 10).then(|| format!("note {id}"));
        assert_eq!(text.expect("read"), expected);
    }
    let performed = notes.performed.load(Ordering::Relaxed);
    assert!(performed < 100, "{performed} statements for 300 reads");
}

async fn a_read_sees_what_was_committed_before_it(database: Database) {
    let notes = Arc::new(Notes::open(&database).await);
    let mut tasks = JoinSet::new();
    for id in 100..200 {
        let notes = notes.clone();
        tasks.spawn(async move {
            notes.insert(id).await;
            assert_eq!(notes.read(id).await.expect("read"), Some(format!("note {id}")));
        });
    }
    tasks.join_all().await;
}

async fn each_read_fails_alone(database: Database) {
    let notes = Arc::new(Notes::open(&database).await);
    notes.insert(1).await;
    for (id, text) in notes.read_all((0..60).map(|n| if n == 30 { 13 } else { 1 })).await {
        assert_eq!(text.ok(), (id == 1).then(|| Some("note 1".to_owned())));
    }
}

async fn after_a_panic_reads_go_on(database: Database) {
    let notes = Arc::new(Notes::open(&database).await);
    notes.insert(1).await;
    for panics in [1, 2, 3, 5, 1, 2, 3, 5] {
        for _ in 0..panics {
            assert!(matches!(notes.read(66).await, Err(Error::WorkerCrashed)));
        }
        // Also if the tasks that have panicked are not dropped yet.
        assert_eq!(notes.read(1).await.expect("read"), Some("note 1".to_owned()));
    }
}
