//! The connection for commands: all publishes and reads of a process are pipelined on it.

use std::sync::Arc;

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    connection::{Connection, Connector},
    health::{Health, probe_writes},
};

/// The current connection, if there is one.
#[derive(Clone)]
pub(super) struct Link(watch::Receiver<Option<Connection>>);

/// A link, and the task that reopens its connection until it is stopped.
pub(super) fn new(
    mut connector: Connector,
    health: Arc<Health>,
    stop: CancellationToken,
) -> (Link, impl Future<Output = ()>) {
    let (current, link) = watch::channel(None);
    let keep = async move {
        let keep_up = async {
            loop {
                let connection = connector.open().await;
                current.send_replace(Some(connection.clone()));
                health.set_commands(true);
                tokio::select! {
                    () = connection.end() => {}
                    () = probe_writes(&connection, &health) => {}
                }
                health.set_commands(false);
                current.send_replace(None);
            }
        };
        stop.run_until_cancelled(keep_up).await;
        // Callers must not wait for another connection.
        current.send_replace(None);
    };
    (Link(link), keep)
}

impl Link {
    /// Waits for a working connection. `None` at the deadline, and after the bus was shut down.
    pub(super) async fn connection(&self, deadline: Instant) -> Option<Connection> {
        if let Some(connection) = self.0.borrow().as_ref().filter(|c| works(c)) {
            return Some(connection.clone());
        }
        let mut link = self.0.clone();
        let found = link.wait_for(|connection| connection.as_ref().is_some_and(works));
        timeout_at(deadline, found).await.ok()?.ok()?.clone()
    }
}

fn works(connection: &Connection) -> bool {
    !connection.lost.is_cancelled()
}
