//! `turnpike-mock-vehicle-connector`: a seeded fleet as a process of its own.

use std::process::ExitCode;

use turnpike_kit::{listen, ops, variables};
use turnpike_mock_vehicle_connector::{Config, Service};

fn main() -> ExitCode {
    turnpike_kit::run_service("turnpike-mock-vehicle-connector", async |process| {
        let config = Config::new(&process.env)?;
        let listener = listen::bind(&variables::MOCK_VEHICLE_CONNECTOR_GRPC, config.grpc).await?;
        let private = listen::bind_private(&variables::MOCK_VEHICLE_CONNECTOR_GRPC, config.grpc).await?;
        ops::serve(process, private);
        let bus = turnpike_bus::open_shared(process, &config.bus)?;
        turnpike_rpc::serve(process, listener, Service::new(&config, process, bus).routes());
        Ok(())
    })
}
