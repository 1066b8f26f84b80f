//! Accounting for forwarded requests. A request does not wait for the ledger. Entries of one row are added up while the database is
//! busy, so that the number of writes does not grow with the number of requests.

use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::error;
use turnpike_kit::{Clock, OnExit, Process, Retry};
use turnpike_store::Store;

use crate::{
    upstream::{Chunk, Tokens, estimate_tokens},
    usage::{Entry, Key, Spent, Sums},
};

/// Maximum number of rows that wait for the database.
const ROWS: usize = 20_000;

/// The rows that are not yet written.
#[derive(Clone)]
pub struct Ledger(Arc<Waiting>);

struct Waiting {
    rows: Mutex<BTreeMap<Key, Sums>>,
    more: Notify,
    clock: Clock,
}

impl Ledger {
    /// A ledger with a task that writes, and a last write after all other tasks.
    pub fn new(process: &Process, store: &Store) -> Self {
        let waiting = Waiting { rows: Mutex::default(), more: Notify::new(), clock: process.clock.clone() };
        let ledger = Self(Arc::new(waiting));
        let (writing, stopping, on) = (ledger.clone(), process.tasks.stopping().clone(), store.clone());
        process.tasks.spawn("usage ledger", OnExit::Continue, async move {
            let mut retry = Retry::default();
            loop {
                tokio::select! {
                    () = writing.0.more.notified() => {}
                    () = stopping.cancelled() => return,
                }
                while let Err(error) = writing.write(&on).await {
                    tokio::select! {
                        () = retry.pause(&writing.0.clock, "usage cannot be written and is kept", error) => {}
                        () = stopping.cancelled() => return,
                    }
                }
                retry = Retry::default();
            }
        });
        let (last, on) = (ledger.clone(), store.clone());
        process.at_the_end(async move {
            if let Err(error) = last.write(&on).await {
                error!(%error, "the usage of the last requests is lost");
            }
        });
        ledger
    }

    /// Adds the tokens of a request.
    pub fn add(&self, spent: &Spent) {
        let mut rows = self.0.rows.lock();
        let room = rows.len() < ROWS;
        match rows.entry(Key::of(spent, self.0.clock.now())) {
            btree_map::Entry::Occupied(mut row) => row.get_mut().add(Sums::of(spent)),
            btree_map::Entry::Vacant(row) if room => _ = row.insert(Sums::of(spent)),
            btree_map::Entry::Vacant(_) => {
                drop(rows);
                error!("the usage of a request is lost: the database has not been available for long");
                return;
            }
        }
        drop(rows);
        self.0.more.notify_one();
    }

    /// Writes what waits. What cannot be written waits further.
    async fn write(&self, store: &Store) -> Result<(), sqlx::Error> {
        let rows = std::mem::take(&mut *self.0.rows.lock());
        let entries = rows.into_iter().map(|(key, sums)| Entry { key, sums });
        let writes = entries.map(|entry| async { store.write(entry.clone()).await.map_err(|error| (error, entry)) });
        let mut failed = None;
        for written in futures_util::future::join_all(writes).await {
            if let Err((error, entry)) = written {
                self.0.rows.lock().entry(entry.key).or_default().add(entry.sums);
                failed = Some(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// The account of one request, which is entered in the ledger when it is dropped: also if the caller has gone.
pub struct Account {
    ledger: Ledger,
    spent: Spent,
    /// As the server counted so far.
    counted: Option<Tokens>,
    /// Chunks with text, and an estimate of its tokens. A server sends one token a chunk, or more.
    chunks: u64,
    tokens: u64,
    is_void: bool,
}

impl Account {
    /// An account of a request whose prompt has about this many tokens.
    pub fn new(ledger: &Ledger, spent: Spent) -> Self {
        Self { ledger: ledger.clone(), spent, counted: None, chunks: 0, tokens: 0, is_void: false }
    }

    /// Counts a chunk of the answer.
    pub fn count(&mut self, chunk: &Chunk) {
        if chunk.is_content {
            self.chunks += 1;
            self.tokens += estimate_tokens(&chunk.text) + estimate_tokens(&chunk.reasoning);
        }
        if chunk.usage.is_some() {
            self.counted = chunk.usage;
        }
        if let Some(model) = &chunk.model
            && *model != self.spent.model
        {
            self.spent.model.clone_from(model);
        }
    }

    /// Counts a whole answer.
    pub fn whole(&mut self, model: Option<String>, usage: Option<Tokens>, length: usize) {
        self.spent.model = model.unwrap_or_else(|| std::mem::take(&mut self.spent.model));
        self.counted = usage;
        self.tokens = length as u64 / 4;
    }

    /// The request was not answered, and nothing was used.
    pub fn void(mut self) {
        self.is_void = true;
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.is_void {
            return;
        }
        match self.counted {
            Some(tokens) => {
                (self.spent.prompt_tokens, self.spent.completion_tokens) = (tokens.prompt, tokens.completion);
            }
            None => {
                self.spent.completion_tokens = self.chunks.max(self.tokens);
                self.spent.estimated = true;
            }
        }
        self.ledger.add(&self.spent);
    }
}
