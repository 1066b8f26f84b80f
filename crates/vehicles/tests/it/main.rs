//! A real service on either database, over a socket, with a clock that tests push. The connector is the mock, or, where it
//! must misbehave in ways that the mock does not know, a scripted one.

#![expect(clippy::disallowed_methods, reason = "tests spawn freely")]

mod caller;
mod cancelling;
mod connectors;
mod deadlines;
mod idempotency;
mod life;
mod limits;
mod lists;
mod one_at_a_time;
mod outages;
mod plans;
mod reading;
mod refusals;
mod registry;
mod restarts;
mod retention;
mod schedules;
mod script;
mod topics;
mod world;
