//! The real service on both databases, with a clock that tests advance: sign-in, sessions, and their ends.

mod accounts;
mod api_keys;
mod away;
mod dump;
mod foreign;
mod harness;
mod idempotency;
mod limits;
mod login;
mod one_time;
mod outbox;
mod plans;
mod refresh;
mod sessions;
mod stalled;
mod start;
mod tickets;
mod topics;
mod verifier;
