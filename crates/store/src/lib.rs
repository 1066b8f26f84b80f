#![doc = include_str!("../README.md")]

mod error;
pub mod idempotency;
pub mod limits;
mod open;
pub mod outbox;
mod page;
mod reads;
mod rows;
mod serve;
mod sweep;
mod writer;

use std::sync::Arc;

use jiff::Timestamp;
use sqlx::{Any, AnyPool, Transaction};

pub use error::{fault, is_unavailable};
pub use open::{Migrations, OpenError};
pub use page::Page;
pub use reads::{Read, Reads};
pub use rows::{parts, rows};
pub use sweep::sweep;
pub use writer::Write;

/// The kind of database. Few statements depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A file, one machine.
    Sqlite,
    /// A server, several instances.
    Postgres,
}

/// A service's database.
#[derive(Clone, Debug)]
pub struct Store {
    pool: AnyPool,
    readers: AnyPool,
    backend: Backend,
    queue: Arc<writer::Queue>,
}

impl Store {
    /// For single statements that write. On SQLite this is the one connection that writes: a read here waits for every write
    /// before it.
    pub fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// For reads outside a transaction. They see everything that was committed before they began, and delay no write.
    pub fn reader(&self) -> &AnyPool {
        &self.readers
    }

    /// The kind of database.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// A transaction that is going to write. Rolled back when it is dropped without a commit.
    pub async fn begin(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        match self.backend {
            Backend::Sqlite => self.pool.begin_with("BEGIN IMMEDIATE").await,
            Backend::Postgres => self.pool.begin().await,
        }
    }

    /// At the end of a subquery that selects rows to be removed: rows that other transactions have locked are left out. A removal
    /// of several rows and a transaction that locks some of them then never wait for each other.
    pub fn skip_locked(&self) -> &'static str {
        match self.backend {
            Backend::Sqlite => "", // has one writer
            Backend::Postgres => " FOR UPDATE SKIP LOCKED",
        }
    }

    /// Whether the database answers.
    pub async fn answers(&self) -> bool {
        sqlx::query("SELECT 1").execute(&self.readers).await.is_ok()
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.readers.close().await;
        self.pool.close().await;
    }
}

/// A time as databases store it.
pub fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// A stored time. A value out of range, which this program never writes, becomes 1970-01-01.
pub fn from_micros(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH)
}
