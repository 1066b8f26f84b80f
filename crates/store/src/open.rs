//! Opening a database: the file or the server, the pool, the migrations.

use std::{fs, io, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc, time::Duration};

use sqlx::{
    AnyConnection, AnyPool, Connection, Executor,
    any::AnyPoolOptions,
    migrate::{MigrateError, Migrator},
};
use tokio::time::timeout;

use crate::{Backend, Store};

/// A service's migrations for either database.
#[derive(Clone, Copy)]
pub struct Migrations {
    /// `migrations/sqlite`.
    pub sqlite: &'static Migrator,
    /// `migrations/postgres`.
    pub postgres: &'static Migrator,
}

/// Why a database cannot be opened. No variant shows the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is of another kind of database.
    #[error("a database URL begins with sqlite: or postgres:")]
    UnknownScheme,
    /// The file or its folder cannot be created.
    #[error("the database file {path} cannot be created")]
    File {
        /// The file.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// No server answers in time.
    #[error("no database answers at the address of the URL")]
    Silent,
    /// The server refuses the connection.
    #[error("the database cannot be opened")]
    Connect(#[source] sqlx::Error),
    /// Its tables cannot be migrated.
    #[error("the database cannot be migrated")]
    Migrate(#[from] MigrateError),
}

/// The longest wait for a connection, including the time to open one.
const PATIENCE: Duration = Duration::from_secs(2);

/// A file's lock is waited for as long as a server works at a statement. A commit reaches the disk before it is reported. The log
/// is copied into the file by [`Store::serve`]; the connection that writes does it only when the log has grown to 64 MiB.
const SQLITE: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 3000; \
                      PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 16384; PRAGMA journal_size_limit = 67108864; \
                      PRAGMA cache_size = -16384";
const SQLITE_READER: &str = "PRAGMA busy_timeout = 3000; PRAGMA query_only = ON; PRAGMA cache_size = -8192";
/// Connections that only read a file.
const READERS: u32 = 4;
/// A transaction whose client has disappeared loses its locks after this time.
const POSTGRES: &str = "SET statement_timeout = 3000; SET idle_in_transaction_session_timeout = 5000";
/// A migration, and the wait for another instance's migration, may take this long.
const UNHURRIED: &str = "SET statement_timeout = 600000";

impl Store {
    /// Opens a database (`sqlite:path`, `sqlite::memory:`, `postgres://…`) and brings its tables up to date. Several
    /// instances may open it at once.
    pub async fn open(url: &str, migrations: Migrations) -> Result<Self, OpenError> {
        sqlx::any::install_default_drivers();
        let store = match url.split_once(':') {
            Some(("sqlite", path)) => {
                let path = path.trim_start_matches("//");
                if !path.starts_with(":memory:") {
                    create(path.split('?').next().unwrap_or(path))?;
                }
                // One connection that writes: several would not wait in turn for SQLite's one lock but poll for it, with sleeps
                // of up to 100 ms. Callers wait in the pool's queue instead, which is fair. The connection is kept for good,
                // because a database in memory exists only in it. It is not tested before each use: it is no network connection
                // that can break.
                let kept = || AnyPoolOptions::new().idle_timeout(None).max_lifetime(None).test_before_acquire(false);
                // Not as a URL: the driver would decode a % sequence in the path.
                let url = format!("sqlite:{}", path.replace('%', "%25"));
                let pool = connect(kept().max_connections(1), SQLITE, &url).await?;
                // Nothing excludes another process's migration: the second process fails, tries again, and finds it done.
                let mut looks = migrations.sqlite.iter().count();
                while let Err(error) = migrations.sqlite.run(&pool).await {
                    looks = looks.checked_sub(1).ok_or(error)?;
                }
                let readers = match path.starts_with(":memory:") {
                    true => pool.clone(),
                    false => connect(kept().max_connections(READERS), SQLITE_READER, &url).await?,
                };
                Self { pool, readers, backend: Backend::Sqlite, queue: Arc::default() }
            }
            Some(("postgres" | "postgresql", _)) => {
                let one = connect(AnyPoolOptions::new().max_connections(1), UNHURRIED, url).await?;
                migrations.postgres.run(&one).await?; // under an advisory lock
                one.close().await;
                // The pool tests a connection that is given back, and would wait for ever.
                let options = AnyPoolOptions::new().max_connections(16).after_release(|connection, _| {
                    Box::pin(async move {
                        timeout(PATIENCE, connection.ping())
                            .await
                            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
                            .map(|()| true)
                    })
                });
                let pool = connect(options, POSTGRES, url).await?;
                Self { readers: pool.clone(), pool, backend: Backend::Postgres, queue: Arc::default() }
            }
            _ => return Err(OpenError::UnknownScheme),
        };
        Ok(store)
    }
}

/// A pool whose connections execute `setup` first.
async fn connect(options: AnyPoolOptions, setup: &'static str, url: &str) -> Result<AnyPool, OpenError> {
    let prepared = options.acquire_timeout(PATIENCE).after_connect(move |connection: &mut AnyConnection, _| {
        Box::pin(async move { connection.execute(setup).await.map(|_| ()) })
    });
    prepared.connect(url).await.map_err(|error| match error {
        sqlx::Error::PoolTimedOut => OpenError::Silent,
        error => OpenError::Connect(error),
    })
}

/// Creates an empty file, which is an empty database to SQLite. Only its owner may read and write it; SQLite creates the log
/// files beside it with the same mode.
fn create(path: &str) -> Result<(), OpenError> {
    let failed = |source| OpenError::File { path: path.to_owned(), source };
    if let Some(folder) = Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
        _ => Ok(()),
    }
}
