//! Opening: the file or the server, the pool, the migrations.

use std::{fs, io, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

use sqlx::{AnyConnection, Executor, any::AnyPoolOptions, migrate::Migrator};

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
    /// It can't be reached, or refuses us.
    #[error("the database cannot be opened")]
    Connect(#[source] sqlx::Error),
    /// Its tables can't be brought up to date.
    #[error("the database cannot be migrated")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

/// Waiting for a connection, making one included.
const PATIENCE: Duration = Duration::from_secs(2);
/// One statement, on Postgres; SQLite waits as long for its lock.
const STATEMENT: &str = "SET statement_timeout = 5000";
const SQLITE: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 5000; \
                      PRAGMA foreign_keys = ON";

impl Store {
    /// Opens a database (`sqlite:path`, `sqlite::memory:`, `postgres://…`) and brings its tables up to date. Several
    /// instances may do so at once.
    pub async fn open(url: &str, migrations: Migrations) -> Result<Self, OpenError> {
        sqlx::any::install_default_drivers();
        let (backend, url, connections) = match url.split_once(':') {
            Some(("sqlite", path)) => {
                let path = path.trim_start_matches("//");
                if !path.starts_with(":memory:") {
                    create(path.split('?').next().unwrap_or(path))?;
                }
                // One connection: SQLite has one writer, and several would not wait in turn for its lock but poll for it,
                // with sleeps of up to 100 ms. Callers wait in the pool's queue instead, which is fair.
                (Backend::Sqlite, format!("sqlite:{path}"), 1)
            }
            Some(("postgres" | "postgresql", _)) => (Backend::Postgres, url.to_owned(), 16),
            _ => return Err(OpenError::UnknownScheme),
        };
        let setup = match backend {
            Backend::Sqlite => SQLITE,
            Backend::Postgres => STATEMENT,
        };
        let mut options = AnyPoolOptions::new().max_connections(connections).acquire_timeout(PATIENCE);
        if backend == Backend::Sqlite {
            // A database in memory lives in its connection, and a file's need not be opened again and again.
            options = options.idle_timeout(None).max_lifetime(None);
        }
        let pool = options
            .after_connect(move |connection: &mut AnyConnection, _| {
                Box::pin(async move { connection.execute(setup).await.map(|_| ()) })
            })
            .connect(&url)
            .await
            .map_err(OpenError::Connect)?;
        match backend {
            Backend::Sqlite => migrations.sqlite.run(&pool).await?,
            Backend::Postgres => migrations.postgres.run(&pool).await?,
        }
        Ok(Self { pool, backend })
    }
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
