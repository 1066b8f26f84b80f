//! The HTTP side of the door: one file a noun, each handler readable by itself.

mod admin;
mod auth;
mod body;
mod client;
mod commands;
mod events;
pub(crate) mod extract;
mod guard;
mod idempotency;
mod one_time;
mod openapi;
mod problem;
mod router;
mod vehicles;
mod words;

pub(crate) use body::Bodies;
pub(crate) use client::Peer;
pub(crate) use problem::Problem;
pub(crate) use router::router;

use jiff::Timestamp;

/// What every handler may answer instead.
type Answer<T> = Result<T, Problem>;

/// A protobuf time as RFC 3339 text; empty where there is none.
fn rfc3339(at: Option<prost_types::Timestamp>) -> Option<String> {
    let at = at?;
    Timestamp::new(at.seconds, at.nanos).ok().map(|at| at.to_string())
}
