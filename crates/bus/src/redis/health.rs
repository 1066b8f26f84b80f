//! The bus works while both connections work and Redis accepts writes.

use parking_lot::Mutex;
use redis::{RedisResult, Value};
use tokio::{
    sync::watch,
    time::{Duration, Instant, timeout},
};
use tracing::{info, warn};
use turnpike_kit::tick;

use super::connection::Connection;
use crate::status::{DownReason, Status};

pub(super) struct Health {
    parts: Mutex<Parts>,
    status: watch::Sender<Status>,
}

#[derive(Default)]
struct Parts {
    commands: bool,
    messages: bool,
    /// The answer to the latest test write; `None` before the first one on a connection.
    accepts_writes: Option<bool>,
}

impl Parts {
    const fn down(&self) -> Option<DownReason> {
        match (self.commands && self.messages, self.accepts_writes) {
            (true, Some(true)) => None,
            (true, Some(false)) => Some(DownReason::ReadOnly),
            (true, None) | (false, _) => Some(DownReason::Unreachable),
        }
    }
}

impl Health {
    pub(super) fn new() -> Self {
        let status = watch::Sender::new(Status::Down { since: Instant::now(), reason: DownReason::Unreachable });
        Self { parts: Mutex::default(), status }
    }

    pub(super) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    pub(super) fn set_commands(&self, works: bool) {
        self.update(|parts| (parts.commands, parts.accepts_writes) = (works, None));
    }

    pub(super) fn set_messages(&self, works: bool) {
        self.update(|parts| parts.messages = works);
    }

    fn set_writes(&self, accepted: bool) {
        self.update(|parts| parts.accepts_writes = Some(accepted));
    }

    fn update(&self, change: impl FnOnce(&mut Parts)) {
        let mut parts = self.parts.lock();
        change(&mut parts);
        let down = parts.down();
        self.status.send_if_modified(|status| {
            match (&mut *status, down) {
                (Status::Down { since, .. }, None) => {
                    info!(after = ?since.elapsed(), "the event bus works");
                    *status = Status::Up;
                }
                (Status::Up, Some(reason)) => {
                    warn!(?reason, "the event bus does not work");
                    *status = Status::Down { since: Instant::now(), reason };
                }
                (Status::Down { reason: known, .. }, Some(reason)) if *known != reason => *known = reason,
                _ => return false,
            }
            true
        });
    }
}

/// The key of the test write, for all processes.
const PROBE: &str = "topic:probe";

/// Between two test writes.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);
/// The key expires without further writes.
const EXPIRY_MS: u64 = 10_000;
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Repeats a small write: a Redis without memory answers a `PING` and refuses every publish. Never returns.
pub(super) async fn probe_writes(connection: &Connection, health: &Health) {
    let mut commands = connection.commands.clone();
    let mut write = redis::cmd("SET");
    write.arg(PROBE).arg(1).arg("PX").arg(EXPIRY_MS);
    let mut refused_before = false;
    loop {
        // A connection without answers is found by its ping.
        let answer: Result<RedisResult<Value>, _> = timeout(PROBE_TIMEOUT, write.query_async(&mut commands)).await;
        if let Ok(written) = answer {
            health.set_writes(written.is_ok());
            match written {
                Err(error) if !refused_before => {
                    warn!(%error, "Redis refuses writes: no event can be published");
                    refused_before = true;
                }
                Err(_) => {}
                Ok(_) => refused_before = false,
            }
        }
        tick(PROBE_INTERVAL).await;
    }
}
