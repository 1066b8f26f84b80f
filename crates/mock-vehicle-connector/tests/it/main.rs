//! The connector through its generated clients: every end of a command, and repeatability.

mod bench;
mod cancel;
mod outcomes;
mod requests;
mod script;
mod watch;
