//! Opening: the file or the server, the pool, the migrations.

use std::{fs, io, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

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

/// Why a database can't be opened. None of these shows the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Neither of ours.
    #[error("a database URL begins with sqlite: or postgres:")]
    UnknownScheme,
    /// The file or its folder can't be made.
    #[error("the database file {path} cannot be created")]
    File {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Nobody answers, or not in time.
    #[error("no database answers at the address of the URL")]
    Silent,
    /// It refuses us.
    #[error("the database cannot be opened")]
    Connect(#[source] sqlx::Error),
    /// Its tables can't be brought up to date.
    #[error("the database cannot be migrated")]
    Migrate(#[from] MigrateError),
}

/// Waiting for a connection, making one included.
const PATIENCE: Duration = Duration::from_secs(2);

/// A file's lock is waited for as long as a server works at a statement.
const SQLITE: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 3000; \
                      PRAGMA foreign_keys = ON";
/// A transaction whose client has vanished does not keep its locks.
const POSTGRES: &str = "SET statement_timeout = 3000; SET idle_in_transaction_session_timeout = 5000";
/// A migration may take its time, and so may waiting for another instance's.
const UNHURRIED: &str = "SET statement_timeout = 600000";

impl Store {
    /// Opens a database (`sqlite:path`, `sqlite::memory:`, `postgres://…`) and brings its tables up to date. Several
    /// instances may do so at once.
    pub async fn open(url: &str, migrations: Migrations) -> Result<Self, OpenError> {
        sqlx::any::install_default_drivers();
        let store = match url.split_once(':') {
            Some(("sqlite", path)) => {
                let path = path.trim_start_matches("//");
                if !path.starts_with(":memory:") {
                    create(path.split('?').next().unwrap_or(path))?;
                }
                // One connection: SQLite has one writer, and several would not wait in turn for its lock but poll for it,
                // with sleeps of up to 100 ms. Callers wait in the pool's queue instead, which is fair. It is kept for
                // good: a database in memory lives in it.
                let options = AnyPoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
                // The driver would decode what looks like an escape; a path means what it says.
                let pool = connect(options, SQLITE, &format!("sqlite:{}", path.replace('%', "%25"))).await?;
                // Nothing locks out another process's migration: whoever comes second fails, looks again, and finds it done.
                let mut looks = migrations.sqlite.iter().count();
                while let Err(error) = migrations.sqlite.run(&pool).await {
                    looks = looks.checked_sub(1).ok_or(error)?;
                }
                Self { pool, backend: Backend::Sqlite }
            }
            Some(("postgres" | "postgresql", _)) => {
                let one = connect(AnyPoolOptions::new().max_connections(1), UNHURRIED, url).await?;
                migrations.postgres.run(&one).await?; // under an advisory lock
                one.close().await;
                // The pool asks a connection that is given back whether it works, and would wait for ever.
                let options = AnyPoolOptions::new().max_connections(16).after_release(|connection, _| {
                    Box::pin(async move {
                        timeout(PATIENCE, connection.ping())
                            .await
                            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
                            .map(|()| true)
                    })
                });
                Self { pool: connect(options, POSTGRES, url).await?, backend: Backend::Postgres }
            }
            _ => return Err(OpenError::UnknownScheme),
        };
        Ok(store)
    }
}

/// A pool whose connections are told `setup` first.
async fn connect(options: AnyPoolOptions, setup: &'static str, url: &str) -> Result<AnyPool, OpenError> {
    let prepared = options.acquire_timeout(PATIENCE).after_connect(move |connection: &mut AnyConnection, _| {
        Box::pin(async move { connection.execute(setup).await.map(|_| ()) })
    });
    prepared.connect(url).await.map_err(|error| match error {
        sqlx::Error::PoolTimedOut => OpenError::Silent,
        error => OpenError::Connect(error),
    })
}

/// An empty file is an empty database to SQLite; made here, it is its owner's alone from the first byte, and so are the log
/// files beside it, which take over its mode.
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
