//! `/api/admin`.

pub(crate) mod users;
