//! The state that handlers share.

use std::{sync::Arc, time::Duration};

use turnpike_bus::Bus;
use turnpike_kit::{Health, Tasks};
use turnpike_proto::{
    auth::v1::auth_service_client::AuthServiceClient, vehicle::v1::vehicle_service_client::VehicleServiceClient,
};
use turnpike_rpc::Transport;

use crate::{
    access::{body::Bodies, caller::Identity, messages::PerMinute},
    config::Config,
    stream::{connections::Sockets, hub::Hub},
};

/// What handlers are given; each takes what it needs.
#[derive(Clone)]
pub(crate) struct App(pub(crate) Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) tasks: Tasks,
    pub(crate) health: Health,
    pub(crate) bus: Bus,
    pub(crate) hub: Hub,
    pub(crate) identity: Identity,
    pub(crate) sockets: Sockets,
    pub(crate) bodies: Bodies,
    pub(crate) messages: PerMinute,
    pub(crate) auth: Transport,
    pub(crate) vehicles: Transport,
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    pub(crate) fn auth(&self) -> AuthServiceClient<Transport> {
        AuthServiceClient::new(self.auth.clone())
    }

    pub(crate) fn vehicles(&self) -> VehicleServiceClient<Transport> {
        VehicleServiceClient::new(self.vehicles.clone())
    }

    /// For what is allowed to take as long as a vehicle takes to answer a cancellation.
    pub(crate) fn patient_vehicles(&self) -> VehicleServiceClient<Transport> {
        VehicleServiceClient::new(self.vehicles.clone().deadline(Duration::from_secs(8)))
    }
}
