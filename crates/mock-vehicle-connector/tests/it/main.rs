//! The connector through its generated clients: every outcome it can bring about, and that it can be repeated.

mod bench;
mod cancel;
mod outcomes;
mod requests;
mod script;
mod watch;
