//! The real service on either database, with a clock that tests push: signing in, staying in, and being put out.

/// Each test twice: on SQLite and on Postgres.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(turnpike_testkit::Database::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(turnpike_testkit::Database::postgres().await).await;
            })*
        }
    };
}

mod accounts;
mod away;
mod dump;
mod foreign;
mod house;
mod idempotency;
mod login;
mod outbox;
mod refresh;
mod sessions;
mod start;
