//! The newest archived event of each supervised command. A caller can have seen a newer event on the topic than the database has;
//! its read waits until that event is archived.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use sqlx::Row;
use tokio::{sync::watch, time::timeout};
use turnpike_bus::{Bus, Status};
use turnpike_store::Store;
use turnpike_topic::{CommandId, Offset, Topic};

use crate::commands::Command;

/// The longest time for which a read waits. After it, the read returns the events that are archived so far.
const ARCHIVE_TIMEOUT: Duration = Duration::from_secs(1);
/// First pause between two reads of a command that another instance supervises. The pause doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

type Reached = watch::Sender<Option<Offset>>;

/// The commands that this instance supervises, with the offset of the last archived event of each.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<Mutex<HashMap<CommandId, Reached>>>);

/// Removes a command from [`Progress`] when it is dropped.
pub(crate) struct Entry {
    progress: Progress,
    id: CommandId,
}

impl Progress {
    pub(crate) fn enter(&self, id: CommandId, reached: Option<Offset>) -> Entry {
        self.0.lock().expect("no panic while it is held").insert(id, watch::Sender::new(reached));
        Entry { progress: self.clone(), id }
    }

    pub(crate) fn reached(&self, id: CommandId, offset: Offset) {
        if let Some(reached) = self.0.lock().expect("no panic while it is held").get(&id) {
            reached.send_replace(Some(offset));
        }
    }

    /// Waits until every event that is on a command's topic now is archived, for at most [`ARCHIVE_TIMEOUT`]. For an ended
    /// command it returns at once: all of its events are archived.
    pub(crate) async fn wait_until_archived(&self, store: &Store, bus: &Bus, command: &Command) {
        let away = matches!(*bus.status().borrow(), Status::Down { .. });
        if command.state.is_end() || away {
            return;
        }
        let waiting = async {
            // Without a topic, or while it cannot be read, there is no newest event to wait for.
            let Ok(page) = bus.read(&Topic::Response(command.id), None, 0).await else { return };
            let Some(head) = page.state.map(|state| state.head()) else { return };
            if let Some(mut reached) = self.watch(command.id) {
                // An error means that this instance no longer supervises the command: it has ended or was taken over.
                if reached.wait_for(|reached| covers(*reached, head)).await.is_ok() {
                    return;
                }
            }
            let mut pause = FIRST_PAUSE;
            while let Ok(false) = is_archived(store, command.id, head).await {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        };
        let _ = timeout(ARCHIVE_TIMEOUT, waiting).await;
    }

    fn watch(&self, id: CommandId) -> Option<watch::Receiver<Option<Offset>>> {
        self.0.lock().expect("no panic while it is held").get(&id).map(watch::Sender::subscribe)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.progress.0.lock().expect("no panic while it is held").remove(&self.id);
    }
}

/// Whether the archive has reached the head. Every event of a later epoch comes after every event of an earlier one.
fn covers(reached: Option<Offset>, head: Offset) -> bool {
    reached.is_some_and(|reached| (reached.epoch, reached.n) >= (head.epoch, head.n))
}

async fn is_archived(store: &Store, id: CommandId, head: Offset) -> Result<bool, sqlx::Error> {
    let row = sqlx::query("SELECT ended, epoch, reached FROM commands WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(store.reader())
        .await?;
    let Some(row) = row else { return Ok(true) };
    let reached = match (row.try_get::<Option<i64>, _>("epoch")?, row.try_get::<Option<i64>, _>("reached")?) {
        (Some(epoch), Some(n)) => Some(Offset { epoch: epoch.unsigned_abs(), n: n.unsigned_abs() }),
        _ => None,
    };
    Ok(row.try_get::<i64, _>("ended")? == 1 || covers(reached, head))
}
