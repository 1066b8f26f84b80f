//! Supervises open commands, one task each, and takes over commands whose lease has ended.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tracing::{Instrument, info, info_span, warn};
use turnpike_bus::Status;
use turnpike_fault::{Fault, Kind};
use turnpike_kit::{OnExit, Process};
use turnpike_rpc::Context;

use crate::{
    commands::Open,
    leases,
    resources::Resources,
    supervised::{Stop, Supervised},
};

/// Maximum number of open commands that one instance supervises.
const MAX_OPEN: usize = 10_000;
/// Pause between two searches for commands whose lease has ended.
const TAKE_OVER_EVERY: Duration = Duration::from_secs(1);
/// Maximum number of commands that one search takes over.
const TAKEN_OVER_AT_ONCE: u32 = 500;

#[derive(Clone)]
pub(crate) struct Supervisor {
    resources: Resources,
    /// Number of commands that this instance supervises.
    open: Arc<AtomicUsize>,
}

/// Counts one supervised command until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Supervisor {
    pub(crate) fn new(resources: Resources) -> Self {
        Self { resources, open: Arc::default() }
    }

    /// Returns an error if no further command can be accepted: the bus is down, or [`MAX_OPEN`] commands are open.
    pub(crate) fn can_begin(&self) -> Result<(), Fault> {
        if matches!(*self.resources.bus.status().borrow(), Status::Down { .. }) {
            let fault = Fault::new(Kind::Unavailable, "Commands cannot be followed just now; try again shortly");
            return Err(fault.retry_after(Duration::from_secs(1)));
        }
        if self.open.load(Ordering::Relaxed) < MAX_OPEN {
            return Ok(());
        }
        Err(Fault::new(Kind::Unavailable, "Too many commands are running").retry_after(Duration::from_secs(1)))
    }

    /// Supervises a command in a task of its own.
    pub(crate) fn begin(&self, open: Open) {
        let (resources, counted) = (self.resources.clone(), Counted(self.open.clone()));
        self.open.fetch_add(1, Ordering::Relaxed);
        let entry = resources.progress.enter(open.command.id, open.reached);
        let work = async move {
            let _held = (counted, entry);
            supervise(resources, Box::new(open)).await;
        };
        // If the task panics, its lease ends, and the command is taken over.
        self.resources.tasks.spawn("command", OnExit::Continue, Context::current().scope(work));
    }

    /// Starts the task that takes over commands whose lease has ended. Their supervisor was in another instance, or in an earlier
    /// run of this one.
    pub(crate) fn take_over(self, process: &Process) {
        let stopping = process.tasks.stopping().clone();
        process.tasks.spawn("take over", OnExit::StopProcess, async move {
            let Resources { store, clock, .. } = &self.resources;
            while !stopping.is_cancelled() {
                match leases::claim(store, clock.now(), TAKEN_OVER_AT_ONCE).await {
                    Ok(claimed) => {
                        for open in claimed {
                            info!(command_id = %open.command.id, state = open.command.state.as_str(), "command taken over");
                            self.begin(open);
                        }
                    }
                    Err(error) => warn!(%error, "commands whose lease has ended could not be searched for"),
                }
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = clock.tick(TAKE_OVER_EVERY) => {}
                }
            }
        });
    }
}

/// Supervises a command until it has ended, is taken over, or this process stops.
async fn supervise(resources: Resources, open: Box<Open>) {
    let (id, fence) = (open.command.id, open.fence);
    let span = info_span!(parent: None, "command", command_id = %id, name = open.command.name);
    let store = resources.store.clone();
    let stop = Supervised::new(resources, *open).run().instrument(span).await;
    if stop == Err(Stop::Stopping) {
        // Another instance can then take the command over at once and need not wait until the lease ends.
        if let Err(error) = leases::release(&store, id, fence).await {
            warn!(%error, command_id = %id, "a lease could not be released");
        }
    }
}
