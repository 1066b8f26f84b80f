//! Whether the bus works.

use tokio::time::Instant;

/// Whether the bus works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Events can be published and arrive.
    Up,
    /// Events cannot be published, or do not arrive.
    Down {
        /// When the bus stopped working.
        since: Instant,
        /// Why the bus does not work.
        reason: DownReason,
    },
}

/// Why the bus does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// There is no connection to Redis, or Redis does not answer.
    Unreachable,
    /// Redis answers and refuses writes: its memory or disk is full, it is a replica, or the user may not write.
    ReadOnly,
}
