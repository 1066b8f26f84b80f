//! A private database for each test.

use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;
use uuid::Uuid;

use crate::postgres_url;

/// Removed when it is dropped.
pub struct Database {
    url: String,
    kind: Kind,
}

enum Kind {
    Sqlite(#[expect(dead_code, reason = "its drop removes the directory")] TempDir),
    Postgres { name: String, server: String },
}

impl Database {
    pub fn sqlite() -> Self {
        let directory = TempDir::new().expect("a temporary directory is created");
        Self { url: format!("sqlite:{}", directory.path().join("test.db").display()), kind: Kind::Sqlite(directory) }
    }

    /// A new database on the Postgres server of the tests.
    pub async fn postgres() -> Self {
        let server = postgres_url();
        let name = format!("t_{}", Uuid::now_v7().simple());
        let mut connection =
            PgConnection::connect(&server).await.expect("the Postgres of the tests accepts a connection");
        connection
            .execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .await
            .expect("the database is created");
        let (base, query) = server.split_once('?').map_or((server.as_str(), ""), |(base, query)| (base, query));
        let (base, _) = base.rsplit_once('/').expect("the URL of Postgres names a database");
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        Self { url: format!("{base}/{name}{query}"), kind: Kind::Postgres { name, server } }
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Kind::Postgres { name, server } = &self.kind else { return };
        let (name, server) = (name.clone(), server.clone());
        // `drop` is not async and the test's runtime may be shutting down, so a thread with its own runtime does this.
        let thread = std::thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            runtime.block_on(async {
                if let Ok(mut connection) = PgConnection::connect(&server).await {
                    let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                    let _ = connection.execute(sqlx::AssertSqlSafe(sql)).await;
                }
            });
        });
        let _ = thread.join();
    }
}

/// Runs each test on SQLite and on Postgres: `on_both!(a, b)` for `async fn a(database: Database)`. The calling crate must depend
/// on tokio.
#[macro_export]
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::Database::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::Database::postgres().await).await;
            })*
        }
    };
}
