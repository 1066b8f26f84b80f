//! Every service in one process: clients sit directly on the services' servers, events stay in memory, data in SQLite files. With
//! `TURNPIKE_REDIS_URL` or a `…_DATABASE_URL` set, those are used instead; with a `…_GRPC` set, that service listens there, too.

use std::net::SocketAddr;

use tonic::service::Routes;
use turnpike_auth::FirstAdmin;
use turnpike_kit::{Process, Revocations, Transport, Verifier, grpc, listen, ops};

/// What is worth knowing about a house that has just been started.
pub struct Started {
    /// Where its door is.
    pub address: SocketAddr,
    /// A vehicle that answers, if the mock has any.
    pub vin: Option<String>,
}

/// Starts everything; it is ready, and runs until the process is stopped. `told` hears of the first admin as soon as there is
/// one: whatever becomes of the rest, a generated password is known this once.
pub async fn start(process: &Process, told: impl FnOnce(&FirstAdmin)) -> anyhow::Result<Started> {
    let env = &process.env;
    let auth_config = turnpike_auth::Config::new(env)?;
    let mock_config = turnpike_mock_vehicle_connector::Config::new(env)?;
    let vehicles_config = turnpike_vehicles::Config::new(env)?;
    let gateway_config = turnpike_gateway::Config::new(env)?;

    let public = listen::bind("TURNPIKE_HTTP", gateway_config.http).await?;
    let address = public.local_addr()?;
    ops::serve(process, listen::bind_private("TURNPIKE_HTTP", gateway_config.http).await?);

    let bus = turnpike_kit::own_bus(process, &gateway_config.bus)?;
    let mut listeners = Vec::new();
    for (name, address) in [
        ("TURNPIKE_AUTH_GRPC", auth_config.grpc),
        ("TURNPIKE_VEHICLES_GRPC", vehicles_config.grpc),
        ("TURNPIKE_MOCK_VEHICLE_CONNECTOR_GRPC", mock_config.grpc),
    ] {
        listeners.push(match env.get(name)? {
            Some(_) => Some(listen::bind(name, address).await?),
            None => None,
        });
    }

    let auth = turnpike_auth::Service::bind(auth_config, process, &bus).await?;
    if let Some(admin) = auth.first_admin() {
        told(admin);
    }
    let to_auth = Transport::direct(auth.routes());
    let revocations = Revocations::watch(process, &bus, to_auth.clone());

    let mock = turnpike_mock_vehicle_connector::Service::new(&mock_config, process, bus.clone());
    let verifier = Verifier::remote(to_auth.clone(), revocations.clone());
    let connectors = connectors(process, &vehicles_config, mock.routes())?;
    let deps = turnpike_vehicles::Deps { bus: bus.clone(), verifier, connectors };
    let vehicles = turnpike_vehicles::Service::bind(vehicles_config, process, deps).await?;
    let to_vehicles = Transport::direct(vehicles.routes());

    for (listener, routes) in listeners.into_iter().zip([auth.routes(), vehicles.routes(), mock.routes()]) {
        if let Some(listener) = listener {
            grpc::serve(process, listener, routes);
        }
    }
    let deps = turnpike_gateway::Deps { bus, auth: to_auth, vehicles: to_vehicles, revocations };
    turnpike_gateway::Service::new(gateway_config, process, deps).serve(process, public)?;
    process.health.ready().await;
    Ok(Started { address, vin: mock.vins().first().cloned() })
}

/// The configured connectors, and the mock of this process unless one of them has its name.
fn connectors(
    process: &Process,
    config: &turnpike_vehicles::Config,
    mock: Routes,
) -> anyhow::Result<Vec<(String, Transport)>> {
    let mut connectors = Vec::new();
    if process.env.get("TURNPIKE_CONNECTORS")?.is_some() {
        for (name, url) in &config.connectors {
            connectors.push((name.clone(), Transport::connect(url, &process.outbound)?));
        }
    }
    if !connectors.iter().any(|(name, _)| name == "mock") {
        connectors.push(("mock".to_owned(), Transport::direct(mock)));
    }
    Ok(connectors)
}
