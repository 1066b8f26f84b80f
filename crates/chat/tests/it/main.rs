//! A real service on both databases, over a socket, with a clock that tests advance.

#![expect(clippy::disallowed_methods, reason = "tests spawn freely")]

mod answers;
mod asker;
mod caller;
mod conversations;
mod messages;
mod takeover;
mod topics;
mod world;
