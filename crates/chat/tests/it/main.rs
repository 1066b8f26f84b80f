//! A real service on both databases, over a socket, with a clock that tests advance.

mod topics;
mod world;
