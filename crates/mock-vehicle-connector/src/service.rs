//! The connector as a service.

use tonic::service::{Routes, RoutesBuilder};
use turnpike_bus::Bus;
use turnpike_kit::Process;
use turnpike_proto::vehicle::v1::{
    mock_vehicle_control_server::MockVehicleControlServer, vehicle_connector_server::VehicleConnectorServer,
};
use turnpike_rpc::NoCredentials;
use uuid::Uuid;

use crate::{
    Config,
    fleet::Fleet,
    rpc::{self, Rpc},
    running::Running,
};

pub struct Deps {
    pub bus: Bus,
}

/// Simulated vehicles.
pub struct Service {
    routes: Routes,
    vins: Vec<String>,
}

impl Service {
    /// Creates the vehicles of the seed.
    pub async fn bind(config: Config, process: &Process, deps: Deps) -> anyhow::Result<Self> {
        let (clock, tasks) = (process.clock.clone(), process.tasks.clone());
        let fleet = Fleet::new(config.seed, config.vehicles, config.delay_ms, clock.clone(), tasks.clone());
        let vins = fleet.seen().into_iter().map(|seen| seen.vin).collect();
        let instance_id = Uuid::now_v7().to_string();
        let rpc = Rpc { instance_id, fleet, running: Running::default(), bus: deps.bus, clock, tasks };
        let mut services = RoutesBuilder::default();
        services.add_service(VehicleConnectorServer::new(rpc.clone())).add_service(MockVehicleControlServer::new(rpc));
        let routes = turnpike_rpc::with_interceptors(process, services, rpc::POLICY, NoCredentials);
        Ok(Self { routes, vins })
    }

    pub fn vins(&self) -> &[String] {
        &self.vins
    }

    pub fn routes(&self) -> Routes {
        self.routes.clone()
    }
}
