//! Shared reads: the reads of one kind that wait at the same time share their statements.
//!
//! A statement on SQLite costs two switches between threads, and on Postgres a round trip, which is more than the read of a row. At
//! most two batches of a kind are read at once, and reads that arrive meanwhile wait for the next one. So batches grow with the load,
//! and a read that arrives alone begins at once.
//!
//! - A read sees everything that was committed before it began: a batch takes its reads before its first statement.
//! - Reads that fail together are performed again one by one, unless the database is not available: then each caller gets an error
//!   for which [`crate::is_unavailable`] is true.

use std::{
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard},
};

use sqlx::Error;
use tokio::sync::oneshot;
use tracing::debug;
use turnpike_kit::{OnExit, Tasks};

use crate::{Store, is_unavailable, parts};

/// A read that can share a statement with others.
pub trait Read: Send + Sync + Sized + 'static {
    /// The caller's result.
    type Output: Send + 'static;

    /// Performs these reads by as few statements as possible, and returns one output for each, in the same order.
    fn perform(reads: &[Self], store: &Store) -> impl Future<Output = Result<Vec<Self::Output>, Error>> + Send;
}

/// Batches of one kind that are read at once.
const AT_ONCE: usize = 2;
/// Maximum number of reads that share their statements.
const TOGETHER: usize = 64;
/// Maximum number of reads that wait. A further caller gets an error at once.
const ROOM: usize = 4096;

/// The reads of one kind.
pub struct Reads<R: Read>(Arc<Inner<R>>);

struct Inner<R: Read> {
    store: Store,
    tasks: Tasks,
    state: Mutex<State<R>>,
}

struct State<R: Read> {
    waiting: Vec<Waiting<R>>,
    /// Tasks that read batches.
    running: usize,
}

struct Waiting<R: Read> {
    read: R,
    caller: oneshot::Sender<Result<R::Output, Error>>,
}

impl<R: Read> Clone for Reads<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<R: Read> fmt::Debug for Reads<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reads").finish_non_exhaustive()
    }
}

impl<R: Read> Reads<R> {
    /// Reads of a store, whose batches are read by these tasks.
    pub fn new(store: &Store, tasks: &Tasks) -> Self {
        let state = Mutex::new(State { waiting: Vec::new(), running: 0 });
        Self(Arc::new(Inner { store: store.clone(), tasks: tasks.clone(), state }))
    }

    /// Performs a read together with the others that wait. Cancel-safe: a read whose caller has gone is left out.
    pub async fn read(&self, read: R) -> Result<R::Output, Error> {
        self.begin(read)?.await.unwrap_or(Err(Error::WorkerCrashed))
    }

    fn begin(&self, read: R) -> Result<oneshot::Receiver<Result<R::Output, Error>>, Error> {
        let (caller, answer) = oneshot::channel();
        let mut state = self.0.state();
        if state.waiting.len() >= ROOM {
            return Err(Error::PoolTimedOut);
        }
        state.waiting.push(Waiting { read, caller });
        if state.running < AT_ONCE {
            state.running += 1;
            drop(state);
            Running::start(self.0.clone());
        }
        Ok(answer)
    }
}

impl<R: Read> Inner<R> {
    fn state(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().expect("no panic while it is held")
    }

    async fn perform(&self, batch: Vec<Waiting<R>>) {
        let (reads, callers): (Vec<R>, Vec<_>) =
            batch.into_iter().filter(|waiting| !waiting.caller.is_closed()).map(|w| (w.read, w.caller)).unzip();
        let mut callers = callers.into_iter();
        for part in parts(&reads, TOGETHER) {
            let callers = callers.by_ref().take(part.len());
            match R::perform(part, &self.store).await {
                Ok(outputs) => callers.zip(outputs).for_each(|(caller, output)| drop(caller.send(Ok(output)))),
                Err(error) if part.len() == 1 || is_unavailable(&error) => {
                    let why = error.to_string();
                    let mut first = Some(error);
                    callers.for_each(|caller| {
                        let error = first.take().unwrap_or_else(|| Error::Io(std::io::Error::other(why.clone())));
                        drop(caller.send(Err(error)));
                    });
                }
                Err(error) => {
                    debug!(%error, reads = part.len(), "reads failed together and are performed one by one");
                    for (caller, read) in callers.zip(part) {
                        let output = R::perform(std::slice::from_ref(read), &self.store).await;
                        let output = output.and_then(|mut outputs| outputs.pop().ok_or(Error::RowNotFound));
                        drop(caller.send(output));
                    }
                }
            }
        }
    }
}

/// A task that reads batches.
struct Running<R: Read> {
    reads: Arc<Inner<R>>,
    has_ended: bool,
}

impl<R: Read> Running<R> {
    /// Starts a task, which the state counts already.
    fn start(reads: Arc<Inner<R>>) {
        let tasks = reads.tasks.clone();
        let mut running = Self { reads, has_ended: false };
        tasks.spawn_long("database reads", OnExit::Continue, async move {
            while let Some(batch) = running.next() {
                running.reads.perform(batch).await;
            }
        });
    }

    /// The next batch. `None`: nothing waits, and the task ends. Both under one lock, so that a read which arrives now starts a task.
    fn next(&mut self) -> Option<Vec<Waiting<R>>> {
        let mut state = self.reads.state();
        if state.waiting.is_empty() {
            state.running -= 1;
            self.has_ended = true;
            return None;
        }
        Some(mem::take(&mut state.waiting))
    }
}

impl<R: Read> Drop for Running<R> {
    /// If the task panicked and no other one is left, a new one serves the reads that wait: the callers of the batch that panicked may
    /// have asked for more before the task was dropped. If the process stops, they get an error.
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let mut state = self.reads.state();
        state.running -= 1;
        if state.running > 0 || state.waiting.is_empty() {
            return;
        }
        if std::thread::panicking() {
            state.running += 1;
            drop(state);
            Self::start(self.reads.clone());
        } else {
            state.waiting.clear();
        }
    }
}
