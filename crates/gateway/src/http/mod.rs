//! The parts that every route shares.

pub(crate) mod client_stream;
pub(crate) mod console;
pub(crate) mod extract;
pub(crate) mod guard;
pub(crate) mod idempotency;
pub(crate) mod listener;
pub(crate) mod number;
pub(crate) mod openapi;
pub(crate) mod problem;
mod request_body;

use turnpike_proto::timestamp;

/// The result of a handler.
pub(crate) type Answer<T> = Result<T, problem::Problem>;

/// A protobuf time as RFC 3339 text; empty where there is none.
pub(crate) fn rfc3339(at: Option<prost_types::Timestamp>) -> Option<String> {
    timestamp::from_protobuf(at?).map(|at| at.to_string())
}
