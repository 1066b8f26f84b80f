//! A real service on both databases, over a socket, with a clock that tests advance. The server of the language model is a fake, which speaks HTTP.

#![expect(clippy::disallowed_methods, reason = "tests spawn freely")]

mod answers;
mod asker;
mod caller;
mod conversations;
mod export;
mod fake;
mod faults;
mod guest;
mod insights;
mod leaving;
mod messages;
mod model_caller;
mod models;
mod personas;
mod plans;
mod presence;
mod removal;
mod rooms;
mod scripted;
mod search;
mod takeover;
mod tls;
mod topics;
mod translations;
mod upstream_answers;
mod usage;
mod world;
