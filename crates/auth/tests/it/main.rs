//! The real service on either database, with a clock that tests push: signing in, staying in, and being put out.

mod accounts;
mod away;
mod dump;
mod foreign;
mod house;
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
