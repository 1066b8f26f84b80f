//! The answers that this instance generates.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use turnpike_topic::MessageId;

use super::log::Source;

#[derive(Clone, Default)]
pub(super) struct Running(Arc<Mutex<HashMap<MessageId, One>>>);

#[derive(Clone)]
struct One {
    stop: CancellationToken,
    source: Source,
}

/// An answer is listed until this is dropped.
pub(super) struct Listed {
    running: Running,
    id: MessageId,
}

impl Running {
    pub(super) fn list(&self, id: MessageId, stop: CancellationToken, source: Source) -> Listed {
        let mut running = self.0.lock();
        running.insert(id, One { stop, source });
        metrics::gauge!("turnpike_answers_running").set(running.len() as f64);
        drop(running);
        Listed { running: self.clone(), id }
    }

    /// Stops an answer. Returns where to see its end; `None` if this instance does not generate it.
    pub(super) fn stop(&self, id: MessageId) -> Option<Source> {
        let one = self.0.lock().get(&id).cloned()?;
        one.stop.cancel();
        Some(one.source)
    }

    /// The events of an answer; `None` if this instance does not generate it.
    pub(super) fn source(&self, id: MessageId) -> Option<Source> {
        self.0.lock().get(&id).map(|one| one.source.clone())
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut running = self.running.0.lock();
        running.remove(&self.id);
        metrics::gauge!("turnpike_answers_running").set(running.len() as f64);
    }
}
