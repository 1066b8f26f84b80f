//! Who calls and how much a caller may ask for.

pub(crate) mod body;
pub(crate) mod caller;
pub(crate) mod client;
pub(crate) mod messages;
pub(crate) mod slots;
