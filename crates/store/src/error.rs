//! The failures of a database, as callers see them.

use std::time::Duration;

use sqlx::Error;
use tracing::{error, warn};
use turnpike_fault::{Fault, Kind};

/// Whether the database is unavailable, and not the statement wrong: a later attempt can succeed.
pub fn is_unavailable(error: &Error) -> bool {
    match error {
        Error::PoolTimedOut | Error::PoolClosed | Error::Io(_) | Error::Tls(_) | Error::WorkerCrashed => true,
        // a proxy that accepts and disconnects, because the server behind it is unavailable
        Error::Protocol(_) => true,
        Error::Database(error) => error.code().is_some_and(|code| passes(&code)),
        _ => false,
    }
}

/// Whether Postgres rolled the transaction back in favour of another one (class 40: a deadlock, or a conflict). Performed again,
/// it can succeed.
pub(crate) fn is_rolled_back(error: &Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code.len() == 5 && code.starts_with("40"))
}

/// A code of Postgres has five characters, of which the first two are the class. A code of SQLite is a number, whose lowest byte
/// is the class.
fn passes(code: &str) -> bool {
    if code.len() == 5 {
        // a rolled-back transaction (two have waited for each other), connection, resources, operator, system; a standby
        return code == "25006" || ["40", "08", "53", "57", "58"].iter().any(|class| code.starts_with(class));
    }
    // busy, locked, an I/O error, a full disk
    code.parse::<u32>().is_ok_and(|code| [5, 6, 10, 13].contains(&(code & 0xff)))
}

/// The failure as a caller may see it. The error of the database itself is not returned to the caller; it is logged here.
pub fn fault(error: Error) -> Fault {
    if is_unavailable(&error) {
        warn!(%error, "the database is unavailable");
        return Fault::new(Kind::Unavailable, "The database cannot be reached just now; try again shortly")
            .retry_after(Duration::from_secs(1));
    }
    error!(%error, "a statement failed");
    Fault::internal()
}
