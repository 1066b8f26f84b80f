//! The components that the process needs, and whether they work.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;
use tracing::{info, warn};

/// The components that must work before the process takes traffic.
#[derive(Clone)]
pub struct Health(Arc<watch::Sender<BTreeMap<&'static str, State>>>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Up,
    Down(String),
}

/// One component. The code that uses it reports its state.
#[derive(Clone)]
pub struct Component {
    name: &'static str,
    health: Health,
}

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(BTreeMap::new())))
    }
}

impl Health {
    /// Adds a component, which is not ready until it reports.
    pub fn component(&self, name: &'static str) -> Component {
        self.waiting_component(name, "starting")
    }

    /// Adds a component whose reason is `why` until it reports. Waiting is part of a start and is not logged.
    pub fn waiting_component(&self, name: &'static str, why: &'static str) -> Component {
        self.0.send_modify(|all| {
            all.insert(name, State::Down(why.to_owned()));
        });
        Component { name, health: self.clone() }
    }

    /// The process stops and is not ready from now on. No warning is logged: the stop was requested.
    pub(crate) fn stop(&self) {
        self.0.send_modify(|all| {
            all.insert("process", State::Down("stopping".to_owned()));
        });
    }

    /// The components that are not ready, and why. The reasons are safe to show.
    pub fn missing(&self) -> BTreeMap<&'static str, String> {
        missing(&self.0.borrow())
    }

    /// Waits until every component is ready.
    pub async fn ready(&self) {
        // Cannot fail: `self` holds the sender.
        let _ = self.0.subscribe().wait_for(|all| missing(all).is_empty()).await;
    }

    /// The changes from now on.
    pub fn changes(&self) -> Changes {
        Changes(self.0.subscribe())
    }
}

/// Waits for changes of [`Health`].
pub struct Changes(watch::Receiver<BTreeMap<&'static str, State>>);

impl Changes {
    /// Waits for the next change.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await; // no sender is left, so nothing changes any more
        }
    }
}

fn missing(all: &BTreeMap<&'static str, State>) -> BTreeMap<&'static str, String> {
    let down = |(name, state): (&&'static str, &State)| match state {
        State::Up => None,
        State::Down(why) => Some((*name, why.clone())),
    };
    all.iter().filter_map(down).collect()
}

impl Component {
    /// The component works.
    pub fn up(&self) {
        self.set(State::Up);
    }

    /// The component does not work. `why` is a few words that are safe to show.
    pub fn down(&self, why: impl Into<String>) {
        self.set(State::Down(why.into()));
    }

    fn set(&self, state: State) {
        self.health.0.send_if_modified(|all| {
            let changed = all.get(self.name) != Some(&state);
            if changed {
                match &state {
                    State::Up => info!(component = self.name, "ready"),
                    State::Down(why) => warn!(component = self.name, why, "not ready"),
                }
                all.insert(self.name, state);
            }
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_that_has_not_reported_is_missing() {
        let health = Health::default();
        let (bus, database) = (health.component("bus"), health.component("database"));
        bus.up();
        assert_eq!(health.missing().into_keys().collect::<Vec<_>>(), ["database"]);
        database.up();
        assert!(health.missing().is_empty());
        bus.down("no answer for 2 s");
        assert_eq!(health.missing()["bus"], "no answer for 2 s");
    }
}
