//! A private database for each test.

use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;
use uuid::Uuid;

use crate::postgres_url;

/// A database that nobody else uses; it goes when it is dropped.
pub struct Database {
    url: String,
    kind: Kind,
}

enum Kind {
    Sqlite(#[expect(dead_code, reason = "held for its end")] TempDir),
    Postgres { name: String, server: String },
}

impl Database {
    /// A SQLite file.
    pub fn sqlite() -> Self {
        let directory = TempDir::new().expect("a directory");
        Self { url: format!("sqlite:{}", directory.path().join("test.db").display()), kind: Kind::Sqlite(directory) }
    }

    /// A database on the Postgres of the tests.
    pub async fn postgres() -> Self {
        let server = postgres_url();
        let name = format!("t_{}", Uuid::now_v7().simple());
        let mut connection = PgConnection::connect(&server).await.expect("the Postgres of the tests");
        connection.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("a new database");
        let (base, query) = server.split_once('?').map_or((server.as_str(), ""), |(base, query)| (base, query));
        let (base, _) = base.rsplit_once('/').expect("a URL with a database");
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        Self { url: format!("{base}/{name}{query}"), kind: Kind::Postgres { name, server } }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Kind::Postgres { name, server } = &self.kind else { return };
        let (name, server) = (name.clone(), server.clone());
        // A drop can't wait, and the test's runtime may be ending: a thread with a runtime of its own, joined.
        let dropping = std::thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            runtime.block_on(async {
                if let Ok(mut connection) = PgConnection::connect(&server).await {
                    let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                    let _ = connection.execute(sqlx::AssertSqlSafe(sql)).await;
                }
            });
        });
        let _ = dropping.join();
    }
}

/// Each test twice, on SQLite and on Postgres: `on_both!(a, b)` for `async fn a(database: Database)`. For crates that have tokio.
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
