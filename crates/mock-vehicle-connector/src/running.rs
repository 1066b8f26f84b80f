//! The running commands, and the ids of earlier ones.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex},
};

use tokio_util::sync::CancellationToken;
use turnpike_topic::CommandId;

use crate::command::Kind;

/// The commands of this incarnation of the connector.
#[derive(Clone, Default)]
pub(crate) struct Running(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    running: HashMap<CommandId, (Kind, CancellationToken)>,
    seen: HashSet<CommandId>,
    order: VecDeque<CommandId>,
}

/// The decision about a command.
pub(crate) enum Entry {
    /// The command is new.
    Begin(Place, CancellationToken),
    /// The command was accepted before.
    Known,
    /// Too many commands are running.
    Full,
}

/// A running command's entry, removed when it is dropped.
pub(crate) struct Place {
    running: Running,
    id: CommandId,
}

/// The result of a cancellation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Asked,
    Refused,
    NotRunning,
}

/// Commands that run at once at most.
const MOST: usize = 10_000;
/// Ids of earlier commands that are stored.
const SEEN: usize = 100_000;

impl Running {
    /// Whether a command was accepted before. It is then accepted again in any state of its vehicle.
    pub(crate) fn knows(&self, id: CommandId) -> bool {
        self.0.lock().expect("no panic while it is held").seen.contains(&id)
    }

    pub(crate) fn enter(&self, id: CommandId, kind: Kind) -> Entry {
        let mut table = self.0.lock().expect("no panic while it is held");
        if table.seen.contains(&id) {
            return Entry::Known;
        }
        if table.running.len() >= MOST {
            return Entry::Full;
        }
        if table.order.len() >= SEEN
            && let Some(oldest) = table.order.pop_front()
        {
            table.seen.remove(&oldest);
        }
        table.seen.insert(id);
        table.order.push_back(id);
        let cancelled = CancellationToken::new();
        table.running.insert(id, (kind, cancelled.clone()));
        Entry::Begin(Place { running: self.clone(), id }, cancelled)
    }

    pub(crate) fn stop(&self, id: CommandId) -> Stop {
        let table = self.0.lock().expect("no panic while it is held");
        match table.running.get(&id) {
            None => Stop::NotRunning,
            Some((kind, _)) if !kind.can_be_cancelled() => Stop::Refused,
            Some((_, cancelled)) => {
                cancelled.cancel();
                Stop::Asked
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.running.0.lock().expect("no panic while it is held").running.remove(&self.id);
    }
}
