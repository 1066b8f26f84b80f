//! The connector in a process of its own.

use turnpike_kit::{Process, listen, variables};

use crate::{Config, Deps, Service};

/// Starts the connector with the configuration in the environment. It runs until the process stops.
pub async fn serve(process: &Process) -> anyhow::Result<()> {
    let config = Config::new(&process.env)?;
    let listener = listen::bind_service(process, &variables::MOCK_VEHICLE_CONNECTOR_GRPC, config.grpc).await?;
    let bus = turnpike_bus::open_shared(process, &config.bus)?;
    let service = Service::bind(config, process, Deps { bus }).await?;
    turnpike_rpc::serve(process, listener, service.routes());
    Ok(())
}
