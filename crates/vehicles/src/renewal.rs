//! Renewal of leases: one task renews all leases of this instance with few statements.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::sync::oneshot;
use tracing::warn;
use turnpike_kit::{OnExit, Process};
use turnpike_store::{Store, parts};
use turnpike_topic::CommandId;

use crate::leases;

/// A lease is renewed well before it ends.
pub const RENEW: Duration = Duration::from_millis(1500);

/// The leases that this instance holds: for each command the fencing token, and a sender that reports the loss to its
/// supervisor.
#[derive(Clone, Default)]
pub struct Leases(Arc<Mutex<Held>>);

type Held = HashMap<CommandId, (i64, oneshot::Sender<()>)>;

/// A lease that is renewed until this is dropped.
pub struct Lease {
    leases: Leases,
    id: CommandId,
    fence: i64,
    lost: oneshot::Receiver<()>,
}

impl Leases {
    /// Renews a lease from now on.
    pub fn hold(&self, id: CommandId, fence: i64) -> Lease {
        let (losing, lost) = oneshot::channel();
        // A supervisor with an older fencing token learns that it has lost the command: its sender is dropped here.
        self.held().insert(id, (fence, losing));
        Lease { leases: self.clone(), id, fence, lost }
    }

    /// Starts the task that renews the leases.
    pub fn renew(&self, process: &Process, store: &Store) {
        let (leases, store, clock) = (self.clone(), store.clone(), process.clock.clone());
        let stopping = process.tasks.stopping().clone();
        process.tasks.spawn("lease renewal", OnExit::StopProcess, async move {
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = clock.sleep(RENEW) => {}
                }
                let held: Vec<_> = leases.held().iter().map(|(id, (fence, _))| (*id, *fence)).collect();
                let began = tokio::time::Instant::now();
                for part in parts(&held, leases::RENEWED_AT_ONCE) {
                    match leases::renew(&store, part.to_vec(), clock.now()).await {
                        Ok(lost) => lost.into_iter().for_each(|(id, fence)| leases.forget(id, fence)),
                        // Another instance cannot take the commands over either, and writes are fenced.
                        Err(error) => warn!(%error, leases = part.len(), "leases could not be renewed"),
                    }
                }
                if !held.is_empty() {
                    metrics::histogram!("turnpike_lease_renewal_seconds").record(began.elapsed().as_secs_f64());
                }
            }
        });
    }

    fn forget(&self, id: CommandId, fence: i64) {
        let mut held = self.held();
        if held.get(&id).is_some_and(|(known, _)| *known == fence) {
            held.remove(&id);
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().expect("no panic while it is held")
    }
}

impl Lease {
    /// Returns when the lease could not be renewed, because the command has ended or another instance has it.
    pub async fn lost(&mut self) {
        let _ = (&mut self.lost).await; // the sender is dropped
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.forget(self.id, self.fence);
    }
}
