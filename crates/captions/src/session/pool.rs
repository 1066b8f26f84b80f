//! The threads that run speech engines. Their number is fixed; each session is in the queue at most once.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use tracing::error;
use turnpike_kit::Process;

/// A session that has waited this long for a thread shows that the machine is overloaded.
const OVERLOADED: Duration = Duration::from_secs(2);

/// A handle to the threads.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Shared>);

/// A session that takes turns.
pub(super) trait Job: Send + Sync {
    /// Returns whether it needs another turn.
    fn turn(&self) -> bool;

    /// The turn has panicked.
    fn panicked(&self);
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Arc<dyn Job>, Instant)>,
    stopped: bool,
}

impl Pool {
    /// Starts the threads. They end after all tasks of the process.
    pub(crate) fn start(process: &Process, threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = |n| {
            let shared = shared.clone();
            Builder::new().name(format!("captions-{n}")).spawn(move || work(&shared))
        };
        let threads: Vec<JoinHandle<()>> = (0..threads.max(1)).map(thread).collect::<Result<_, _>>()?;
        let ending = shared.clone();
        process.at_the_end(async move {
            ending.queue.lock().stopped = true;
            ending.wake.notify_all();
            let _ = tokio::task::spawn_blocking(|| threads.into_iter().for_each(|thread| drop(thread.join()))).await;
        });
        Ok(Self(shared))
    }

    /// Gives a session its turn behind those that wait.
    pub(super) fn schedule(&self, job: Arc<dyn Job>) {
        self.0.queue.lock().waiting.push_back((job, Instant::now()));
        self.0.wake.notify_one();
    }

    /// Whether the threads cannot keep up with the sessions.
    pub(super) fn is_overloaded(&self) -> bool {
        self.0.queue.lock().waiting.front().is_some_and(|(_, since)| since.elapsed() > OVERLOADED)
    }
}

fn work(shared: &Shared) {
    loop {
        let job = {
            let mut queue = shared.queue.lock();
            loop {
                if queue.stopped {
                    return;
                }
                match queue.waiting.pop_front() {
                    Some((job, _)) => break job,
                    None => shared.wake.wait(&mut queue),
                }
            }
        };
        // A defect of an engine ends its session, never the thread.
        let again = catch_unwind(AssertUnwindSafe(|| job.turn())).unwrap_or_else(|_| {
            error!("a speech engine panicked; its session has failed");
            metrics::counter!("turnpike_captions_engine_panics_total").increment(1);
            job.panicked();
            false
        });
        if again {
            shared.queue.lock().waiting.push_back((job, Instant::now()));
        }
    }
}
