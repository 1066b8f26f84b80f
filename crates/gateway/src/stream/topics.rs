//! The resources that are needed to open a topic for a client.

use turnpike_bus::Bus;

use super::{hub::Hub, owners::Owners};

#[derive(Clone)]
pub(crate) struct Topics {
    pub(crate) bus: Bus,
    pub(crate) hub: Hub,
    pub(crate) owners: Owners,
}
