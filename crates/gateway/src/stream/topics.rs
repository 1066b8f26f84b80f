//! What opening a topic for a client needs.

use turnpike_bus::Bus;

use super::{hub::Hub, owners::Owners};

#[derive(Clone)]
pub(crate) struct Topics {
    pub(crate) bus: Bus,
    pub(crate) hub: Hub,
    pub(crate) owners: Owners,
}
