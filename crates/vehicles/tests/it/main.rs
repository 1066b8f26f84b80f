//! A real service on both databases, over a socket, with a clock that tests advance. The connector is the mock, or a scripted one for
//! behaviour that the mock does not have.

#![expect(clippy::disallowed_methods, reason = "tests spawn freely")]

mod caller;
mod cancelling;
mod commands;
mod connectors;
mod deadlines;
mod idempotency;
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
