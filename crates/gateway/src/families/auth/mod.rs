//! `/api/auth`.

pub(crate) mod account;
pub(crate) mod one_time;
