//! What a server listed last.

use jiff::Timestamp;
use parking_lot::Mutex;

/// A model of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    pub id: String,
    /// The position of its server in the configuration, from 1; 0: the scripted model.
    pub server: u32,
    pub owned_by: String,
    pub created_at: Option<Timestamp>,
    /// It answers requests that name no model.
    pub active: bool,
}

/// What a server listed last.
#[derive(Debug, Default)]
pub struct Listed {
    known: Mutex<Option<Known>>,
    /// One request at a time asks.
    pub asking: tokio::sync::Mutex<()>,
}

/// A list, and when it was asked for.
#[derive(Clone, Debug)]
pub struct Known {
    pub at: Timestamp,
    /// Empty if the server did not answer.
    pub models: Vec<Model>,
}

impl Listed {
    /// The next request asks again.
    pub fn forget(&self) {
        *self.known.lock() = None;
    }

    pub fn known(&self) -> Option<Known> {
        self.known.lock().clone()
    }

    pub fn set(&self, known: Known) {
        *self.known.lock() = Some(known);
    }

    /// Whether the server listed this model when it was last asked.
    pub fn has(&self, model: &str) -> bool {
        self.known.lock().as_ref().is_some_and(|known| known.models.iter().any(|listed| listed.id == model))
    }
}
