//! What opening a topic for a client needs.

use turnpike_bus::Bus;
use turnpike_proto::vehicle::v1::vehicle_service_client::VehicleServiceClient;
use turnpike_rpc::Transport;

use super::hub::Hub;

#[derive(Clone)]
pub(crate) struct Topics {
    pub(crate) bus: Bus,
    pub(crate) hub: Hub,
    pub(crate) vehicles: Transport,
}

impl Topics {
    pub(crate) fn vehicles(&self) -> VehicleServiceClient<Transport> {
        VehicleServiceClient::new(self.vehicles.clone())
    }
}
