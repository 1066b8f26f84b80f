//! A real service on either database, over a socket, with a clock that tests push. The connector is the mock, or, where it
//! must misbehave in ways that the mock does not know, a scripted one.

#![expect(clippy::disallowed_methods, reason = "tests spawn freely")]

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

mod caller;
mod cancelling;
mod connectors;
mod deadlines;
mod idempotency;
mod life;
mod lists;
mod one_at_a_time;
mod refusals;
mod registry;
mod restarts;
mod schedules;
mod script;
mod world;
