//! `/api/vehicles` and `/api/commands`.

pub(crate) mod commands;
pub(crate) mod registry;
pub(crate) mod states;
