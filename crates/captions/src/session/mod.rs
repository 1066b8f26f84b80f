//! Caption sessions: what is kept in memory about each, and the tasks and threads that serve them.

mod attach;
mod audio_file;
mod measures;
mod pass;
mod pool;
mod publisher;
mod registry;
mod restore;
mod slot;
mod state;
mod store;
mod sweep;
mod to_model;
mod to_room;

pub(crate) use attach::{Lease, Rejected};
pub(crate) use measures::{Measured, Spread};
pub(crate) use pool::Pool;
pub(crate) use registry::{NewSession, Registry, Resources};
pub(crate) use state::{Described, Partial, Session, SessionError};
pub(crate) use store::{Kept, Store};
pub use sweep::Retention;
pub(crate) use sweep::sweep;
pub(crate) use to_model::is_language;
