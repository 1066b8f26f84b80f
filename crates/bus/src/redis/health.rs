//! Whether the bus works: both connections do.

use std::sync::Mutex;

use tokio::{sync::watch, time::Instant};
use tracing::{info, warn};

use crate::Status;

pub(super) struct Health {
    works: Mutex<[bool; 2]>,
    status: watch::Sender<Status>,
}

/// What the bus is made of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Commands,
    Messages,
}

impl Health {
    pub(super) fn new() -> Self {
        let status = watch::Sender::new(Status::Down { since: Instant::now() });
        Self { works: Mutex::default(), status }
    }

    pub(super) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    pub(super) fn set(&self, part: Part, works: bool) {
        let mut all = self.works.lock().expect("no panic while it is held");
        all[part as usize] = works;
        let works = all.iter().all(|works| *works);
        self.status.send_if_modified(|status| {
            match (*status, works) {
                (Status::Down { since }, true) => {
                    info!(after = ?since.elapsed(), "the event bus works");
                    *status = Status::Up;
                }
                (Status::Up, false) => {
                    warn!(?part, "the event bus is down");
                    *status = Status::Down { since: Instant::now() };
                }
                _ => return false,
            }
            true
        });
    }
}
