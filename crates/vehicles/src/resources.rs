//! The resources that the tasks of this service share.

use turnpike_bus::Bus;
use turnpike_kit::{Clock, Tasks};
use turnpike_store::{Reads, Store};

use crate::{fleet::Fleet, progress::Progress, registry, renewal::Leases};

#[derive(Clone)]
pub(crate) struct Resources {
    pub(crate) store: Store,
    /// Reads of the registry.
    pub(crate) lists: Reads<registry::List>,
    pub(crate) bus: Bus,
    pub(crate) fleet: Fleet,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    /// The leases of the commands that this instance supervises.
    pub(crate) leases: Leases,
    /// How far the commands that this instance supervises are archived.
    pub(crate) progress: Progress,
}
