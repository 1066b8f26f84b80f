//! A store on real databases: opened by several instances at once, parallel writers, interrupted work.

mod bounds;
mod group;
mod limits;
mod opening;
mod reads;
mod unavailable;
mod writing;

use sqlx::migrate::Migrator;
use turnpike_store::{Migrations, OpenError, Store};

static SQLITE: Migrator = sqlx::migrate!("tests/it/migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("tests/it/migrations/postgres");

async fn open(url: &str) -> Result<Store, OpenError> {
    Store::open(url, Migrations { sqlite: &SQLITE, postgres: &POSTGRES }).await
}

async fn count(store: &Store, table: &'static str) -> i64 {
    let sql = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
    sqlx::query_scalar(sql).fetch_one(store.pool()).await.expect("a number")
}
