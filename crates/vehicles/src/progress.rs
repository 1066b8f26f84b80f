//! How far commands are recorded, for callers that have seen more on a command's topic than the database has.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use sqlx::Row;
use tokio::{sync::watch, time::timeout};
use turnpike_bus::Status;
use turnpike_topic::{CommandId, Offset, Topic};

use crate::{commands::Command, conductor::Conductor};

/// A read waits at most so long for the record; then it answers with what is recorded.
const PATIENCE: Duration = Duration::from_secs(1);
/// First and longest pause between two looks at a command that another instance conducts.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const LONGEST_LOOK: Duration = Duration::from_millis(50);

type Reached = watch::Sender<Option<Offset>>;

/// The commands that this instance conducts, with the last offset that it has recorded of each.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<Mutex<HashMap<CommandId, Reached>>>);

/// A command's entry, removed however conducting ends.
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

    fn watch(&self, id: CommandId) -> Option<watch::Receiver<Option<Offset>>> {
        self.0.lock().expect("no panic while it is held").get(&id).map(watch::Sender::subscribe)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.progress.0.lock().expect("no panic while it is held").remove(&self.id);
    }
}

/// Waits until everything that is on a command's topic now is recorded, for at most [`PATIENCE`]. An ended command costs
/// nothing: all of it is recorded.
pub(crate) async fn recorded(here: &Conductor, command: &Command) {
    let away = matches!(*here.bus.status().borrow(), Status::Down { .. });
    if command.state.is_end() || away {
        return;
    }
    let waiting = async {
        // Without a topic, or while it cannot be read, the database has all there is to know.
        let Ok(page) = here.bus.read(&Topic::Response(command.id), None, 0).await else { return };
        let Some(head) = page.state.map(|state| state.head()) else { return };
        if let Some(mut reached) = here.progress.watch(command.id) {
            // An error means that this instance conducts the command no longer: it has ended or was taken over.
            if reached.wait_for(|reached| covers(*reached, head)).await.is_ok() {
                return;
            }
        }
        let mut pause = FIRST_LOOK;
        while let Ok(false) = has_recorded(here, command.id, head).await {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_LOOK);
        }
    };
    let _ = timeout(PATIENCE, waiting).await;
}

/// A later epoch comes after everything of an earlier one.
fn covers(reached: Option<Offset>, head: Offset) -> bool {
    reached.is_some_and(|reached| (reached.epoch, reached.n) >= (head.epoch, head.n))
}

async fn has_recorded(here: &Conductor, id: CommandId, head: Offset) -> Result<bool, sqlx::Error> {
    let row = sqlx::query("SELECT ended, epoch, reached FROM commands WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(here.store.reader())
        .await?;
    let Some(row) = row else { return Ok(true) };
    let reached = match (row.try_get::<Option<i64>, _>("epoch")?, row.try_get::<Option<i64>, _>("reached")?) {
        (Some(epoch), Some(n)) => Some(Offset { epoch: epoch.unsigned_abs(), n: n.unsigned_abs() }),
        _ => None,
    };
    Ok(row.try_get::<i64, _>("ended")? == 1 || covers(reached, head))
}
