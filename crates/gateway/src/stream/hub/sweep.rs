//! The sweepers: one task for each core writes to all connections that are current. No task is woken for a delivery.
//!
//! A sweeper takes the topics that have news, marks their members, and visits each marked connection once. A visit writes
//! everything up to the head of the topic at that moment, so under load fewer and larger writes deliver the same events.

use std::{mem::take, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use turnpike_kit::{OnExit, Tasks};

use super::members::Members;

/// Visits between two looks at the rest of the runtime: about 0.2 ms.
const STRIDE: usize = 32;

#[derive(Clone)]
pub(super) struct Sweepers(Arc<[List]>);

/// The topics that have news for one sweeper.
#[derive(Default)]
struct List {
    topics: Mutex<Vec<Arc<Members>>>,
    wake: Notify,
}

impl Sweepers {
    /// Starts a sweeper for each worker of the runtime, until `drained`.
    pub(super) fn start(tasks: &Tasks, drained: &CancellationToken) -> Self {
        let count = tokio::runtime::Handle::current().metrics().num_workers();
        let sweepers = Self((0..count).map(|_| List::default()).collect());
        for number in 0..count {
            let (sweepers, drained) = (sweepers.clone(), drained.clone());
            tasks.spawn("sweeper", OnExit::StopProcess, async move {
                // By then every socket has its close frame, and nothing follows a close frame.
                drained.run_until_cancelled(sweepers.sweep(number)).await;
            });
        }
        sweepers
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// A topic has news for all its members. Never waits.
    pub(super) fn news(&self, members: &Arc<Members>) {
        members.wake(|number| {
            let list = &self.0[number];
            list.topics.lock().push(members.clone());
            list.wake.notify_one();
        });
    }

    async fn sweep(&self, number: usize) {
        let list = &self.0[number];
        let (mut marked, mut runs) = (Vec::new(), Vec::new());
        loop {
            list.wake.notified().await;
            let topics = take(&mut *list.topics.lock());
            for topic in topics {
                topic.unlist(number);
                let shard = topic.shard(number);
                let new = shard.values().filter(|(connection, slot)| connection.mark(*slot));
                marked.extend(new.map(|(connection, _)| connection.clone()));
            }
            for (nth, connection) in marked.drain(..).enumerate() {
                connection.visit(&mut runs);
                if nth % STRIDE == STRIDE - 1 {
                    tokio::task::yield_now().await;
                }
            }
            runs.clear(); // it holds the last run
        }
    }
}
