//! The tasks of a process. Each has a name and an [`OnExit`]. When the process stops, it waits for all of them.

use std::{
    collections::BTreeMap,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};
use tracing::{Instrument, error, warn};

/// What the process does when a task ends before the process was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExit {
    /// Continues: the task's work is done. A panic is logged and counted.
    Continue,
    /// Stops, so that its supervisor starts it again: it is of no use without the task.
    StopProcess,
}

/// Every task of a process, and the two ways to stop them: softly (finish, take nothing new) and hard (now).
#[derive(Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    soft: CancellationToken,
    hard: CancellationToken,
    failed: Arc<OnceLock<&'static str>>,
    running: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

/// A task's entry among the running ones. It is removed also if the task panics or is aborted.
struct Entry {
    name: &'static str,
    running: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

impl Entry {
    fn new(name: &'static str, running: Arc<Mutex<BTreeMap<&'static str, usize>>>) -> Self {
        *running.lock().entry(name).or_default() += 1;
        Self { name, running }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut running = self.running.lock();
        if let Some(count) = running.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                running.remove(self.name);
            }
        }
    }
}

impl Tasks {
    /// Starts a task. It is dropped at the hard stop, wherever it is; until then it may listen to [`Tasks::stopping`].
    pub fn spawn(
        &self,
        name: &'static str,
        on_exit: OnExit,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        let (soft, hard, failed) = (self.soft.clone(), self.hard.clone(), self.failed.clone());
        let entry = Entry::new(name, self.running.clone());
        let guarded = async move {
            let _entry = entry;
            let ended = tokio::select! {
                () = hard.cancelled_owned() => return,
                ended = AssertUnwindSafe(future).catch_unwind() => ended,
            };
            if ended.is_err() {
                error!(task = name, "a task panicked");
                metrics::counter!("turnpike_task_panics_total", "task" => name).increment(1);
            }
            if on_exit == OnExit::StopProcess && !soft.is_cancelled() {
                error!(task = name, "a task that the process needs has ended; the process stops");
                let _ = failed.set(name); // the first one is the cause
                soft.cancel();
            }
        };
        self.tracker.spawn(guarded.in_current_span()).abort_handle()
    }

    /// Keeps [`Tasks::finish`] waiting until the token is dropped, for work whose task another library starts later.
    pub fn hold(&self) -> TaskTrackerToken {
        self.tracker.token()
    }

    /// Cancelled when the process begins to stop: finish, accept nothing new.
    pub fn stopping(&self) -> &CancellationToken {
        &self.soft
    }

    /// Asks every task to finish.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// Asks every task to finish, waits for at most `grace`, then drops the remaining tasks. Returns whether all finished.
    pub async fn finish(&self, grace: Duration) -> bool {
        self.soft.cancel();
        self.tracker.close();
        let finished = tokio::time::timeout(grace, self.tracker.wait()).await.is_ok();
        if !finished {
            let left = self.running.lock().clone();
            warn!(?left, "some tasks did not finish in time and are dropped");
        }
        self.hard.cancel();
        self.tracker.wait().await; // a dropped task ends at its next poll
        finished
    }

    /// The task with [`OnExit::StopProcess`] that ended first, if one did.
    pub fn failed(&self) -> Option<&'static str> {
        self.failed.get().copied()
    }

    /// The number of running tasks.
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Whether no task runs.
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_a_needed_task_stops_the_others_and_is_remembered() {
        let tasks = Tasks::default();
        let stopping = tasks.stopping().clone();
        tasks.spawn("listening", OnExit::Continue, async move { stopping.cancelled().await });
        tasks.spawn("needed", OnExit::StopProcess, async { panic!("for the test") });
        tasks.stopping().cancelled().await;
        assert!(tasks.finish(Duration::from_secs(5)).await);
        assert_eq!(tasks.failed(), Some("needed"));
    }

    #[tokio::test]
    async fn a_task_that_does_not_stop_is_dropped_after_the_grace() {
        let tasks = Tasks::default();
        tasks.spawn("endless", OnExit::Continue, std::future::pending());
        assert!(!tasks.finish(Duration::from_millis(10)).await);
        assert!(tasks.is_empty());
        assert_eq!(tasks.failed(), None);
    }
}
