//! What waits to be passed on to the chat service, and the access token for it.

mod credential;
mod queue;

pub(crate) use credential::Credential;
pub(crate) use queue::{Item, Passed, Queue};
