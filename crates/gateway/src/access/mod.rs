//! Callers: their credentials, their addresses, and their limits.

pub(crate) mod api_keys;
pub(crate) mod body;
pub(crate) mod caller;
pub(crate) mod client;
pub(crate) mod credentials;
pub(crate) mod messages;
pub(crate) mod origin;
pub(crate) mod scope;
pub(crate) mod slots;
