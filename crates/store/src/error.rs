//! What a database's failure means to a caller.

use std::time::Duration;

use sqlx::Error;
use tracing::{error, warn};
use turnpike_fault::{Fault, Kind};

/// Whether it is the database that is away, and not the statement that is wrong.
pub fn is_away(error: &Error) -> bool {
    match error {
        Error::PoolTimedOut | Error::PoolClosed | Error::Io(_) | Error::Tls(_) | Error::WorkerCrashed => true,
        // SQLSTATE classes: connection (08), resources (53), operator intervention (57), system (58), read-only standby;
        // of SQLite: busy, locked, I/O, full
        Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "53", "57", "58", "25006"].iter().any(|class| code.len() == 5 && code.starts_with(class))
                || matches!(code.parse::<u32>().map(|code| code & 0xff), Ok(5 | 6 | 10 | 13)) && code.len() < 5
        }),
        _ => false,
    }
}

/// The failure as it may travel. This is where a database error stops travelling, so it is logged here.
pub fn fault(error: Error) -> Fault {
    if is_away(&error) {
        warn!(%error, "the database is away");
        return Fault::new(Kind::Unavailable, "The database cannot be reached just now; try again shortly")
            .retry_after(Duration::from_secs(1));
    }
    error!(%error, "a statement failed");
    Fault::internal()
}
