//! The readers of one topic, and how each of them learns that the topic has news.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::ring::Run;

/// A connection that a sweeper visits.
pub(crate) trait Swept: Send + Sync {
    /// Decides which sweeper visits the connection.
    fn id(&self) -> u64;

    /// The topic in this slot has news. Returns whether the connection must be put on the list of the sweep; `false`: it is there,
    /// or its catch-up task will write.
    fn mark(&self, slot: usize) -> bool;

    /// Reads the memory that [`Swept::write_run`] needs, so that a loop over several connections waits for all of it at once. The
    /// result has no meaning.
    fn touch(&self) -> bool;

    /// Writes a run without waiting, if the run begins at the position of the topic's reader and nothing else is to be written.
    /// Returns `false` if the connection must be marked and visited instead. A part of the run can be written by then; the
    /// visit writes the rest.
    fn write_run(&self, run: &Run) -> bool;

    /// Writes what is new, without waiting.
    fn visit(self: Arc<Self>, runs: &mut Vec<(usize, Run)>);

    /// Both at once, when no other topic has news. Called under the lock of the members, so it must not drop a reader.
    fn mark_and_visit(self: Arc<Self>, slot: usize, runs: &mut Vec<(usize, Run)>);
}

/// How a reader learns that its topic has news.
#[derive(Clone)]
pub(crate) enum Wake {
    /// A task is woken.
    Task(Arc<Notify>),
    /// A sweeper visits the connection, which has the topic in this slot.
    Sweep(Arc<dyn Swept>, usize),
}

/// The connections that one sweeper visits, in the order in which they came, because the memory of their sockets is in that order,
/// too. The number is the slot of the topic.
pub(super) type Shard = BTreeMap<u64, (Arc<dyn Swept>, usize)>;

pub(super) struct Members {
    next: AtomicU64,
    tasks: Mutex<BTreeMap<u64, Arc<Notify>>>,
    shards: Box<[Mutex<Shard>]>,
    /// For each sweeper, whether the topic is on its list. It is there once, no matter how many events arrive.
    listed: Box<[AtomicBool]>,
}

/// A reader's entry among the members.
pub(super) struct Member {
    id: u64,
    /// `None`: the reader has a task.
    shard: Option<usize>,
}

impl Members {
    pub(super) fn new(sweepers: usize) -> Self {
        let shards = (0..sweepers).map(|_| Mutex::default()).collect();
        let listed = (0..sweepers).map(|_| AtomicBool::new(false)).collect();
        Self { next: AtomicU64::new(0), tasks: Mutex::default(), shards, listed }
    }

    pub(super) fn enter(&self, wake: &Wake) -> Member {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        match wake {
            Wake::Task(wake) => {
                self.tasks.lock().insert(id, wake.clone());
                Member { id, shard: None }
            }
            Wake::Sweep(connection, slot) => {
                let shard = usize::try_from(connection.id()).unwrap_or_default() % self.shards.len();
                self.shards[shard].lock().insert(id, (connection.clone(), *slot));
                Member { id, shard: Some(shard) }
            }
        }
    }

    pub(super) fn leave(&self, member: &Member) {
        match member.shard {
            None => drop(self.tasks.lock().remove(&member.id)),
            Some(shard) => drop(self.shards[shard].lock().remove(&member.id)),
        }
    }

    pub(super) fn shard(&self, number: usize) -> MutexGuard<'_, Shard> {
        self.shards[number].lock()
    }

    /// Takes the topic off a sweeper's list. Called before the shard is read, so that an event after that lists the topic again.
    pub(super) fn unlist(&self, shard: usize) {
        self.listed[shard].store(false, Ordering::SeqCst);
    }

    /// Wakes the readers that have tasks. For each sweeper that does not have the topic on its list, `write` is called with its
    /// connections, unless another thread holds them. If it returns false, the sweeper gets the topic on its list by `list`.
    pub(super) fn wake(&self, mut write: impl FnMut(&Shard) -> bool, list: impl Fn(usize)) {
        for (number, (listed, shard)) in self.listed.iter().zip(&self.shards).enumerate() {
            if listed.load(Ordering::SeqCst) || shard.try_lock().is_some_and(|shard| write(&shard)) {
                continue;
            }
            if !listed.swap(true, Ordering::SeqCst) {
                list(number);
            }
        }
        for wake in self.tasks.lock().values() {
            wake.notify_one();
        }
    }
}
