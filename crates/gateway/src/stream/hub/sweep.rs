//! The sweepers: one task for each core writes to all connections that are current. No task is woken for a delivery. The few readers
//! of a small topic are written to by the task that follows the topic, because waking a sweeper takes longer.
//!
//! A sweeper takes the topics that have news, marks their members, and visits each marked connection once. With one such topic,
//! which is most of the time, it does both at once. A visit writes everything up to the head of the topic at that moment, so under
//! load fewer and larger writes deliver the same events.

use std::{hint::black_box, mem::take, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use turnpike_kit::{OnExit, Tasks};

use super::{
    members::{Members, Shard, Swept},
    ring::Run,
};
use crate::stream::format::Format;

/// Members that are written to before the sweeper yields to other tasks: about 0.3 ms.
const STRIDE: usize = 64;
/// As many connections of one sweeper are few: another task writes to them in less time than it takes to wake the sweeper and to
/// run it, and does not delay others.
pub(super) const FEW: usize = 16;

#[derive(Clone)]
pub(super) struct Sweepers {
    lists: Arc<[List]>,
    few: usize,
}

/// The topics that have news for one sweeper.
#[derive(Default)]
struct List {
    topics: Mutex<Vec<Arc<Members>>>,
    wake: Notify,
}

impl Sweepers {
    /// Starts a sweeper for each worker of the runtime, until `drained`. A topic with at most `few` connections of each sweeper is
    /// written to without them.
    pub(super) fn start(few: usize, tasks: &Tasks, drained: &CancellationToken) -> Self {
        let count = tokio::runtime::Handle::current().metrics().num_workers();
        let sweepers = Self { lists: (0..count).map(|_| List::default()).collect(), few };
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
        self.lists.len()
    }

    /// A topic has news for all its members. Never waits. `is_last`: no further event of the topic has arrived yet, so nothing would
    /// be written together with this one, and a few members get it at once.
    pub(super) fn news(&self, members: &Arc<Members>, is_last: bool) {
        let mut runs = Vec::new();
        let write = |shard: &Shard| {
            let is_written = shard.is_empty() || is_last && shard.len() <= self.few;
            if is_written {
                write_to(shard.values(), &mut runs);
            }
            is_written
        };
        members.wake(write, |number| {
            let list = &self.lists[number];
            list.topics.lock().push(members.clone());
            list.wake.notify_one();
        });
    }

    async fn sweep(&self, number: usize) {
        let list = &self.lists[number];
        let (mut marked, mut runs) = (Vec::new(), Vec::new());
        loop {
            list.wake.notified().await;
            let topics = take(&mut *list.topics.lock());
            topics.iter().for_each(|topic| topic.unlist(number));
            if let [only] = topics.as_slice() {
                let mut next = sweep_some(only, number, 0, &mut runs);
                while let Some(from) = next {
                    tokio::task::yield_now().await;
                    next = sweep_some(only, number, from, &mut runs);
                }
                continue;
            }
            for topic in topics {
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

/// Visits some of the members of the only topic that has news: those from this id on. Returns the id of the next one.
fn sweep_some(topic: &Members, number: usize, from: u64, runs: &mut Vec<(usize, Run)>) -> Option<u64> {
    let shard = topic.shard(number);
    black_box(shard.range(from..).take(STRIDE).any(|(_, (connection, _))| connection.touch()));
    let mut members = shard.range(from..);
    write_to(members.by_ref().take(STRIDE).map(|(_, member)| member), runs);
    members.next().map(|(id, _)| *id)
}

/// Writes the news of one topic to these members. Most of them are at the same position, so the run that a visit has written to one
/// member is written to the others without a visit.
fn write_to<'a>(members: impl Iterator<Item = &'a (Arc<dyn Swept>, usize)>, runs: &mut Vec<(usize, Run)>) {
    let mut shared = Format::ALL.map(|_| None);
    for (connection, slot) in members {
        if shared.iter().flatten().any(|run| connection.write_run(run)) {
            continue;
        }
        runs.clear();
        connection.clone().mark_and_visit(*slot, runs);
        if let Some((_, run)) = runs.iter().find(|(number, _)| number == slot) {
            shared[run.format as usize] = Some(run.clone());
        }
    }
    runs.clear(); // frees the bytes of the last run
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;
    use crate::stream::hub::members::Wake;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Swept for Counted {
        fn id(&self) -> u64 {
            0
        }

        fn mark(&self, _slot: usize) -> bool {
            true
        }

        fn touch(&self) -> bool {
            false
        }

        fn write_run(&self, _run: &Run) -> bool {
            false
        }

        fn visit(self: Arc<Self>, _runs: &mut Vec<(usize, Run)>) {}

        fn mark_and_visit(self: Arc<Self>, slot: usize, _runs: &mut Vec<(usize, Run)>) {
            self.0.fetch_add(slot, Relaxed);
        }
    }

    #[test]
    fn every_member_of_the_only_topic_is_visited_once_also_when_others_leave_meanwhile() {
        for count in [0, 1, STRIDE - 1, STRIDE, STRIDE + 1, 5 * STRIDE] {
            let members = Members::new(1);
            let connections: Vec<Arc<Counted>> = (0..count).map(|_| Arc::default()).collect();
            let mut entries: Vec<_> =
                connections.iter().map(|one| members.enter(&Wake::Sweep(one.clone(), 1))).collect();
            let mut next = Some(0);
            let mut strides = 0;
            while let Some(from) = next {
                next = sweep_some(&members, 0, from, &mut Vec::new());
                strides += 1;
                // The connection that would be the next one leaves.
                if let Some(at) = next.filter(|_| strides == 2) {
                    members.leave(&entries.remove(usize::try_from(at).expect("small")));
                }
            }
            let visits: usize = connections.iter().map(|one| one.0.load(Relaxed)).sum();
            assert_eq!(
                (visits, connections.iter().any(|one| one.0.load(Relaxed) > 1)),
                (entries.len(), false),
                "{count}"
            );
            assert_eq!(strides, count.div_ceil(STRIDE).max(1));
        }
    }
}
