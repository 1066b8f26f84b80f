//! Pauses between attempts while something is unavailable.

use std::{fmt::Display, time::Duration};

use tracing::{debug, warn};

use crate::Clock;

/// Pause after the first failure; doubled after each further one.
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause.
const MOST: Duration = Duration::from_secs(1);

/// The failures of one operation so far.
#[derive(Default)]
pub struct Retry {
    failures: u32,
}

impl Retry {
    /// Logs a failure (the first one as a warning) and waits before the next attempt.
    pub async fn pause(&mut self, clock: &Clock, what: &'static str, error: impl Display) {
        match self.failures {
            0 => warn!(%error, "{what}"),
            failures => debug!(%error, failures, "{what}"),
        }
        clock.sleep((FIRST * (1 << self.failures.min(2))).min(MOST)).await;
        self.failures += 1;
    }
}
