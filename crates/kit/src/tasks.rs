//! The tasks of a process. Each has a name and an [`OnExit`]. When the process stops, it waits for all of them.

use std::{
    collections::BTreeMap,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFutureOwned},
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
pub struct Tasks(Arc<Inner>);

#[derive(Default)]
struct Inner {
    tracker: TaskTracker,
    soft: CancellationToken,
    hard: CancellationToken,
    failed: OnceLock<&'static str>,
    running: Mutex<BTreeMap<&'static str, usize>>,
}

/// A task's entry among the running ones. It is removed also if the task panics or is aborted.
struct Entry {
    name: &'static str,
    tasks: Arc<Inner>,
}

impl Entry {
    fn new(name: &'static str, tasks: Arc<Inner>) -> Self {
        *tasks.running.lock().entry(name).or_default() += 1;
        Self { name, tasks }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut running = self.tasks.running.lock();
        if let Some(count) = running.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                running.remove(self.name);
            }
        }
    }
}

pin_project_lite::pin_project! {
    /// A task of [`Tasks`]. Not an async block, which would keep its future twice: as a captured variable and where it is awaited.
    struct Guarded<F> {
        #[pin]
        future: F,
        #[pin]
        hard: WaitForCancellationFutureOwned,
        entry: Entry,
        on_exit: OnExit,
    }
}

impl<F: Future<Output = ()>> Future for Guarded<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.hard.poll(context).is_ready() {
            return Poll::Ready(());
        }
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| this.future.poll(context)));
        if let Ok(Poll::Pending) = polled {
            return Poll::Pending;
        }
        let Entry { name, tasks } = this.entry;
        if polled.is_err() {
            error!(task = *name, "a task panicked");
            metrics::counter!("turnpike_task_panics_total", "task" => *name).increment(1);
        }
        if *this.on_exit == OnExit::StopProcess && !tasks.soft.is_cancelled() {
            error!(task = *name, "a task that the process needs has ended; the process stops");
            let _ = tasks.failed.set(name); // the first one is the cause
            tasks.soft.cancel();
        }
        Poll::Ready(())
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
        self.0.tracker.spawn(self.guard(name, on_exit, future).in_current_span()).abort_handle()
    }

    /// Like [`Tasks::spawn`], but the task does not keep the span of its caller: for a task that lives much longer than the request
    /// that started it.
    pub fn spawn_long(
        &self,
        name: &'static str,
        on_exit: OnExit,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        self.0.tracker.spawn(self.guard(name, on_exit, future)).abort_handle()
    }

    fn guard<F>(&self, name: &'static str, on_exit: OnExit, future: F) -> Guarded<F> {
        let hard = self.0.hard.clone().cancelled_owned();
        Guarded { future, hard, entry: Entry::new(name, self.0.clone()), on_exit }
    }

    /// Keeps [`Tasks::finish`] waiting until the token is dropped, for work whose task another library starts later.
    pub fn hold(&self) -> TaskTrackerToken {
        self.0.tracker.token()
    }

    /// Cancelled when the process begins to stop: finish, accept nothing new.
    pub fn stopping(&self) -> &CancellationToken {
        &self.0.soft
    }

    /// Asks every task to finish.
    pub fn stop(&self) {
        self.0.soft.cancel();
    }

    /// Asks every task to finish, waits for at most `grace`, then drops the remaining tasks. Returns whether all finished.
    pub async fn finish(&self, grace: Duration) -> bool {
        self.0.soft.cancel();
        self.0.tracker.close();
        let finished = tokio::time::timeout(grace, self.0.tracker.wait()).await.is_ok();
        if !finished {
            let left = self.0.running.lock().clone();
            warn!(?left, "some tasks did not finish in time and are dropped");
        }
        self.0.hard.cancel();
        self.0.tracker.wait().await; // a dropped task ends at its next poll
        finished
    }

    /// The task with [`OnExit::StopProcess`] that ended first, if one did.
    pub fn failed(&self) -> Option<&'static str> {
        self.0.failed.get().copied()
    }

    /// The number of running tasks.
    pub fn len(&self) -> usize {
        self.0.tracker.len()
    }

    /// Whether no task runs.
    pub fn is_empty(&self) -> bool {
        self.0.tracker.is_empty()
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
