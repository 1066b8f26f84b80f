//! A real service on both databases, over a socket, with a clock that tests advance. The server of the language model is a fake, which speaks HTTP.

#![expect(clippy::disallowed_methods, reason = "tests spawn freely")]

mod caller;
mod conversations;
mod fake;
mod faults;
mod leaving;
mod messages;
mod model_caller;
mod models;
mod scripted;
mod topics;
mod usage;
mod world;
