//! Group commit: all waiting writes share one transaction, and writes of one kind share their statements.
//!
//! One task takes all waiting writes, performs them in one transaction, commits once, and then answers every caller. Writes that
//! arrive meanwhile wait for the next batch. So batches grow with the load, and a write that arrives alone is performed at once.
//!
//! - A write is committed before its caller gets an output. An error means that nothing was written, with one exception: if the
//!   commit itself failed, it is not known whether the batch was written, and every caller gets the error that the database is
//!   unavailable.
//! - Writes that fail together are rolled back and performed again, one by one. So a write does not fail because of another one.
//! - A write whose caller drops its future before the batch is performed is left out. If the caller drops it later, the write is
//!   committed like any other.
//! - A write that begins after another one has returned is performed after it. Concurrent writes of different kinds have no
//!   order.
//! - Writes that no client waits for ([`Write::DEFERRABLE`]) let the others go first. So the records of what was done share fewer
//!   transactions under load, and a request does not wait for their statements.

use std::{
    any::{Any, TypeId},
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures_util::future::BoxFuture;
use sqlx::{AnyConnection, Connection, Error};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{Store, error::is_rolled_back, is_unavailable, parts};

/// A write that can share a transaction, and statements, with others.
pub trait Write: Send + Sync + Sized + 'static {
    /// Whether no client waits for such a write. It then lets other writes go first, for at most 5 ms.
    const DEFERRABLE: bool = false;

    /// The caller's result. A refusal is an output, too; it leaves nothing written.
    type Output: Send + 'static;

    /// Performs these writes by as few statements as possible, within a transaction, and returns one output for each, in the same
    /// order. After an error all are rolled back, and each write is performed by a call of its own.
    fn perform(
        writes: &[Self],
        on: &mut AnyConnection,
    ) -> impl Future<Output = Result<Vec<Self::Output>, Error>> + Send;
}

/// Maximum number of writes that wait or are being performed. A further caller waits for room.
const ROOM: usize = 1024;
/// Maximum number of writes that share their statements.
const TOGETHER: usize = 128;
/// How long a deferrable write lets others go first.
const DEFERRED: Duration = Duration::from_millis(5);
/// How long a caller waits for room in the queue.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one batch may take. A statement is bounded by the database; this bounds a database that does not answer.
const BATCH: Duration = Duration::from_secs(5);
/// Maximum number of attempts for a batch that the database rolls back because of a conflict with another transaction.
const ATTEMPTS: u32 = 5;
/// After the process was asked to stop, the task ends when no write came for this long. Later writes have transactions of their
/// own.
const IDLE: Duration = Duration::from_millis(50);

/// The waiting writes.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    more: Notify,
    room: Arc<Semaphore>,
}

#[derive(Default)]
struct Waiting {
    /// Whether a task serves the queue.
    served: bool,
    first: Batch,
    deferred: Batch,
    /// Since when the oldest deferred write has waited.
    deferred_since: Option<Instant>,
}

/// Writes by kind.
type Batch = Vec<(TypeId, Box<dyn Kind>)>;

impl Waiting {
    /// The writes to be performed next; empty if none waits.
    fn take(&mut self) -> Batch {
        let overdue = self.deferred_since.is_some_and(|since| since.elapsed() >= DEFERRED);
        let mut batch = mem::take(&mut self.first);
        if batch.is_empty() || overdue {
            batch.append(&mut self.deferred);
            self.deferred_since = None;
        }
        batch
    }

    fn is_empty(&self) -> bool {
        self.first.is_empty() && self.deferred.is_empty()
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self { waiting: Mutex::default(), more: Notify::new(), room: Arc::new(Semaphore::new(ROOM)) }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no panic while it is held")
    }

    /// Returns the write as the error if no task serves the queue.
    fn push<W: Write>(&self, write: W, room: OwnedSemaphorePermit) -> Result<oneshot::Receiver<Answer<W>>, W> {
        let mut waiting = self.waiting();
        if !waiting.served {
            return Err(write);
        }
        let (caller, answer) = oneshot::channel();
        let kind = TypeId::of::<W>();
        let batch = if W::DEFERRABLE {
            waiting.deferred_since.get_or_insert_with(Instant::now);
            &mut waiting.deferred
        } else {
            &mut waiting.first
        };
        let at = batch.iter().position(|(known, _)| *known == kind).unwrap_or_else(|| {
            batch.push((kind, Box::new(Writes::<W>::default())));
            batch.len() - 1
        });
        let writes: &mut dyn Any = &mut *batch[at].1;
        let writes = writes.downcast_mut::<Writes<W>>().expect("found by its type");
        writes.writes.push(write);
        writes.callers.push((caller, room));
        drop(waiting);
        self.more.notify_one();
        Ok(answer)
    }
}

type Answer<W> = Result<<W as Write>::Output, Error>;

/// The writes of one kind in a batch.
struct Writes<W: Write> {
    writes: Vec<W>,
    callers: Vec<(oneshot::Sender<Answer<W>>, OwnedSemaphorePermit)>,
    answers: Vec<Answer<W>>,
}

impl<W: Write> Default for Writes<W> {
    fn default() -> Self {
        Self { writes: Vec::new(), callers: Vec::new(), answers: Vec::new() }
    }
}

/// How a batch is performed. Savepoints cost two more round trips for each part, and failures are rare: a batch goes without them
/// first, and if a write fails, it is rolled back and performed again with savepoints.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Directly,
    WithSavepoints,
}

/// [`Writes`] of any kind.
trait Kind: Any + Send {
    /// Removes writes whose callers have gone; returns how many are left.
    fn prune(&mut self) -> usize;
    fn len(&self) -> usize;
    /// Performs the writes; after an error the transaction cannot be used any more.
    fn perform<'a>(&'a mut self, on: &'a mut AnyConnection, how: How) -> BoxFuture<'a, Result<(), Error>>;
    /// Answers every caller; `lost` is the reason if nothing was committed.
    fn answer(self: Box<Self>, lost: Option<&str>);
}

impl<W: Write> Kind for Writes<W> {
    fn prune(&mut self) -> usize {
        let both = mem::take(&mut self.writes).into_iter().zip(mem::take(&mut self.callers));
        (self.writes, self.callers) = both.filter(|(_, (caller, _))| !caller.is_closed()).unzip();
        self.writes.len()
    }

    fn len(&self) -> usize {
        self.writes.len()
    }

    fn perform<'a>(&'a mut self, on: &'a mut AnyConnection, how: How) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.answers.clear();
            for part in parts(&self.writes, TOGETHER) {
                let outputs = match how {
                    How::Directly => Ok(W::perform(part, on).await.and_then(|outputs| counted(outputs, part))?),
                    How::WithSavepoints => within_savepoint(part, on).await?,
                };
                match outputs {
                    Ok(outputs) => self.answers.extend(outputs.into_iter().map(Ok)),
                    Err(error) if part.len() == 1 => self.answers.push(Err(error)),
                    Err(error) => {
                        debug!(%error, writes = part.len(), "writes failed together and are performed one by one");
                        for write in part {
                            let outputs = within_savepoint(std::slice::from_ref(write), on).await?;
                            self.answers.push(outputs.and_then(|mut outputs| outputs.pop().ok_or_else(wrong_count)));
                        }
                    }
                }
            }
            Ok(())
        })
    }

    fn answer(self: Box<Self>, lost: Option<&str>) {
        let mut answers = self.answers.into_iter();
        for (caller, _room) in self.callers {
            let answer = match lost {
                Some(why) => Err(unavailable(why)),
                None => answers.next().unwrap_or_else(|| Err(wrong_count())),
            };
            let _ = caller.send(answer); // a caller may have gone meanwhile
        }
    }
}

/// Performs all of the writes or none. The inner error is of the writes, which were then rolled back; the outer one is of the
/// transaction.
async fn within_savepoint<W: Write>(
    writes: &[W],
    on: &mut AnyConnection,
) -> Result<Result<Vec<W::Output>, Error>, Error> {
    let mut savepoint = on.begin().await?;
    match W::perform(writes, &mut savepoint).await.and_then(|outputs| counted(outputs, writes)) {
        Ok(outputs) => savepoint.commit().await.map(|()| Ok(outputs)),
        Err(error) => savepoint.rollback().await.map(|()| Err(error)),
    }
}

fn counted<O, W>(outputs: Vec<O>, writes: &[W]) -> Result<Vec<O>, Error> {
    if outputs.len() == writes.len() { Ok(outputs) } else { Err(wrong_count()) }
}

/// A defect of an implementation of [`Write`].
fn wrong_count() -> Error {
    Error::Decode("a kind of write gave another number of outputs than it had writes".into())
}

/// An error that the caller may retry; [`crate::is_unavailable`] is true for it.
fn unavailable(why: &str) -> Error {
    Error::Io(std::io::Error::other(format!("the transaction was not committed: {why}")))
}

impl Store {
    /// Performs a write in one transaction with all other waiting writes, and returns when it is committed. Without a task that
    /// serves the queue ([`Store::serve`]) the write has a transaction of its own.
    pub async fn write<W: Write>(&self, write: W) -> Result<W::Output, Error> {
        let room = timeout(PATIENCE, self.queue.room.clone().acquire_owned()).await.map_err(|_| Error::PoolTimedOut)?;
        let room = room.map_err(|_| Error::PoolClosed)?;
        match self.queue.push(write, room) {
            Ok(answer) => answer.await.unwrap_or(Err(Error::WorkerCrashed)),
            Err(write) => self.write_alone(&[write]).await,
        }
    }

    /// Performs one write in a transaction of its own.
    async fn write_alone<W: Write>(&self, write: &[W; 1]) -> Result<W::Output, Error> {
        let mut attempt = 1;
        loop {
            let written = async {
                let mut tx = self.begin().await?;
                let output = W::perform(write, &mut tx).await?.pop().ok_or_else(wrong_count)?;
                tx.commit().await?;
                Ok(output)
            };
            match written.await {
                Err(error) if attempt < ATTEMPTS && is_rolled_back(&error) => attempt += 1,
                written => return written,
            }
        }
    }

    /// Performs the writes of [`Store::write`] until `stopping` is cancelled and nothing more is written.
    pub(crate) async fn serve_writes(self, stopping: CancellationToken) {
        self.queue.waiting().served = true;
        // If this future is dropped or panics, waiting callers get an error, and later writes have transactions of their own.
        let _closing = Closing(&self.queue);
        loop {
            let batch = self.queue.waiting().take();
            if !batch.is_empty() {
                self.write_batch(batch).await;
                continue;
            }
            tokio::select! {
                () = self.queue.more.notified() => {}
                () = idle_at_the_stop(&stopping) => {
                    let mut waiting = self.queue.waiting();
                    if waiting.is_empty() {
                        waiting.served = false;
                        return;
                    }
                }
            }
        }
    }

    async fn write_batch(&self, mut batch: Batch) {
        let writes: usize = batch.iter().map(|(_, kind)| kind.len()).sum();
        metrics::histogram!("turnpike_store_batch_writes").record(writes as f64);
        let work = async {
            let mut how = How::Directly;
            for attempt in 1.. {
                match self.attempt(&mut batch, how).await {
                    Ok(true) => break,
                    Ok(false) => how = How::WithSavepoints,
                    // Nothing is written, and the writes themselves are valid.
                    Err(error) if attempt < ATTEMPTS && is_rolled_back(&error) => {
                        debug!(%error, writes, "a batch of writes is performed again");
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok::<_, Error>(())
        };
        let lost = match timeout(BATCH, work).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the database did not answer in time".to_owned()),
        };
        if let Some(error) = &lost {
            warn!(error, writes, "a batch of writes was not committed");
        }
        for (_, kind) in batch {
            kind.answer(lost.as_deref());
        }
    }

    /// Returns whether the batch was committed. `false`: a write failed and nothing was written; an attempt with savepoints can
    /// succeed.
    async fn attempt(&self, batch: &mut Batch, how: How) -> Result<bool, Error> {
        let mut tx = self.begin().await?;
        // Callers may have gone while the task waited for the connection.
        batch.retain_mut(|(_, kind)| kind.prune() > 0);
        for (_, kind) in batch {
            match kind.perform(&mut tx, how).await {
                Ok(()) => {}
                Err(error) if how == How::Directly && !is_unavailable(&error) => {
                    tx.rollback().await?;
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        tx.commit().await?;
        Ok(true)
    }
}

async fn idle_at_the_stop(stopping: &CancellationToken) {
    stopping.cancelled().await;
    sleep(IDLE).await;
}

struct Closing<'a>(&'a Queue);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        let lost = mem::take(&mut *waiting); // which is not served
        drop(waiting);
        for (_, kind) in lost.first.into_iter().chain(lost.deferred) {
            kind.answer(Some("the process stops"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct First;
    struct Deferrable;

    impl Write for First {
        type Output = ();

        async fn perform(writes: &[Self], _: &mut AnyConnection) -> Result<Vec<()>, Error> {
            Ok(vec![(); writes.len()])
        }
    }

    impl Write for Deferrable {
        const DEFERRABLE: bool = true;
        type Output = ();

        async fn perform(writes: &[Self], _: &mut AnyConnection) -> Result<Vec<()>, Error> {
            Ok(vec![(); writes.len()])
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deferrable_write_lets_others_go_first_for_a_while() {
        let queue = Queue::default();
        queue.waiting().served = true;
        let push = |deferrable: bool| {
            let room = queue.room.clone().try_acquire_owned().expect("room");
            match deferrable {
                true => drop(queue.push(Deferrable, room).map_err(drop).expect("served")),
                false => drop(queue.push(First, room).map_err(drop).expect("served")),
            }
        };
        let take = || queue.waiting().take().iter().map(|(kind, writes)| (*kind, writes.len())).collect::<Vec<_>>();
        let (first, deferrable) = (TypeId::of::<First>(), TypeId::of::<Deferrable>());

        push(true);
        assert_eq!(take(), [(deferrable, 1)], "alone, it is performed at once");
        for _ in 0..2 {
            push(true);
            push(false);
            assert_eq!(take(), [(first, 1)]);
            push(true);
            tokio::time::advance(DEFERRED - Duration::from_millis(1)).await;
            push(false);
            assert_eq!(take(), [(first, 1)]);
            push(false);
            tokio::time::advance(Duration::from_millis(1)).await;
            assert_eq!(take(), [(first, 1), (deferrable, 2)], "for how long is bounded");
            assert!(take().is_empty());
        }
        push(true);
        push(false);
        assert_eq!((take(), take()), (vec![(first, 1)], vec![(deferrable, 1)]));
        assert!(queue.waiting().is_empty());
    }
}
