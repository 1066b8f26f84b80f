//! Every service in one process. Clients call the generated servers directly, events stay in memory, and data is in SQLite files. If
//! `TURNPIKE_REDIS_URL` or a `…_DATABASE_URL` is set, it is used instead. If a `…_GRPC` is set, that service also listens there.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret, SecretString};
use tonic::service::Routes;
use tracing::warn;
use turnpike_auth::FirstAdmin;
use turnpike_bus::Bus;
use turnpike_identity::{Revocations, Verifier};
use turnpike_kit::{Process, listen, variables};
use turnpike_rpc::Transport;

use crate::one_time::{self, OneTime};

/// The result of a start.
pub struct Started {
    /// The public HTTP address.
    pub address: SocketAddr,
    /// The VIN of a simulated vehicle, if there is one.
    pub vin: Option<String>,
    /// The data directory, if it contains a one-time sign-in.
    pub one_time: Option<PathBuf>,
    /// At the first start: the code of a link that signs the first admin in.
    pub link_code: Option<SecretString>,
    /// The bus of all services.
    pub bus: Bus,
}

/// Starts every service and waits until all are ready. They run until the process is stopped. `on_first_admin` is called as soon as
/// the first admin exists: a generated password is available only once, so it must be shown even if the start fails later.
///
/// `with_link`: the caller can show a link to a person, and to nobody else.
pub async fn start(
    process: &Process,
    with_link: bool,
    on_first_admin: impl FnOnce(&FirstAdmin),
) -> anyhow::Result<Started> {
    let env = &process.env;
    let auth_config = turnpike_auth::Config::new(env)?;
    let mock_config = turnpike_mock_vehicle_connector::Config::new(env)?;
    let vehicles_config = turnpike_vehicles::Config::new(env)?;
    let chat_config = turnpike_chat::Config::new(env)?;
    let captions_config = turnpike_captions::Config::new(env)?;
    let gateway_config = turnpike_gateway::Config::new(env)?;

    let public = listen::bind_service(process, &variables::HTTP, gateway_config.http).await?;
    let address = public.local_addr()?;

    let data_dir = auth_config.data_dir.clone();
    let bus = turnpike_bus::open(process, &gateway_config.bus)?;
    let mut listeners = Vec::new();
    for (variable, address) in [
        (&variables::AUTH_GRPC, auth_config.grpc),
        (&variables::VEHICLES_GRPC, vehicles_config.grpc),
        (&variables::MOCK_VEHICLE_CONNECTOR_GRPC, mock_config.grpc),
        (&variables::CHAT_GRPC, chat_config.grpc),
        (&variables::CAPTIONS_GRPC, captions_config.grpc),
    ] {
        listeners.push(match env.get(variable) {
            Some(_) => Some(listen::bind(variable, address).await?),
            None => None,
        });
    }

    let auth = turnpike_auth::Service::bind(auth_config, process, turnpike_auth::Deps { bus: bus.clone() }).await?;
    if let Some(admin) = auth.first_admin() {
        on_first_admin(admin);
    }
    let to_auth = Transport::direct(auth.routes());
    let revocations = Revocations::watch(process, &bus, to_auth.clone());

    let deps = turnpike_mock_vehicle_connector::Deps { bus: bus.clone() };
    let mock = turnpike_mock_vehicle_connector::Service::bind(mock_config, process, deps).await?;
    let verifier = Verifier::remote(to_auth.clone(), revocations.clone());
    let connectors = connectors(process, &vehicles_config, mock.routes())?;
    let deps = turnpike_vehicles::Deps { bus: bus.clone(), verifier, connectors };
    let vehicles = turnpike_vehicles::Service::bind(vehicles_config, process, deps).await?;
    let to_vehicles = Transport::direct(vehicles.routes());

    let verifier = Verifier::remote(to_auth.clone(), revocations.clone());
    let deps = turnpike_chat::Deps { bus: bus.clone(), verifier };
    let chat = turnpike_chat::Service::bind(chat_config, process, deps).await?;
    let to_chat = Transport::direct(chat.routes());

    let verifier = Verifier::remote(to_auth.clone(), revocations.clone());
    let deps = turnpike_captions::Deps { bus: bus.clone(), verifier, chat: to_chat.clone(), engines: None };
    let captions = turnpike_captions::Service::bind(captions_config, process, deps).await?;
    let to_captions = Transport::direct(captions.routes());

    let routes = [auth.routes(), vehicles.routes(), mock.routes(), chat.routes(), captions.routes()];
    for (listener, routes) in listeners.into_iter().zip(routes) {
        if let Some(listener) = listener {
            turnpike_rpc::serve(process, listener, routes);
        }
    }
    let deps = turnpike_gateway::Deps {
        bus: bus.clone(),
        auth: to_auth,
        vehicles: to_vehicles,
        chat: to_chat,
        captions: to_captions,
        revocations,
    };
    turnpike_gateway::Service::bind(gateway_config, process, deps).await?.serve(process, public)?;
    process.health.ready().await;
    let one_time = match write_one_time(&auth, &data_dir, address).await {
        Ok(written) => written.then_some(data_dir),
        // Without it, the client needs a password.
        Err(error) => {
            warn!(
                error = format!("{error:#}"),
                "the one-time sign-in file could not be written; the client needs a password"
            );
            None
        }
    };
    let with_link = with_link && auth.first_admin().is_some() && address.ip().is_loopback();
    let link_code = match with_link {
        true => auth.one_time_link_code().await?.map(|issued| issued.code),
        false => None,
    };
    Ok(Started { address, vin: mock.vins().first().cloned(), one_time, link_code, bus })
}

/// Writes a one-time sign-in for the operating system user of this process; it replaces an earlier one. It is written only if the
/// gateway listens on loopback; otherwise the first sign-in needs the password. Returns whether it was written.
async fn write_one_time(auth: &turnpike_auth::Service, data_dir: &Path, address: SocketAddr) -> anyhow::Result<bool> {
    let issued = match address.ip().is_loopback() {
        true => auth.one_time_code().await?,
        false => None,
    };
    let Some(issued) = issued else {
        one_time::remove(data_dir)?;
        return Ok(false);
    };
    let one_time = OneTime {
        server: format!("http://{address}"),
        username: issued.username,
        code: issued.code.expose_secret().to_owned(),
        expires_at: issued.expires_at,
    };
    one_time.write(data_dir)?;
    Ok(true)
}

/// The configured connectors, and the mock in this process unless a configured one has the name `mock`.
fn connectors(
    process: &Process,
    config: &turnpike_vehicles::Config,
    mock: Routes,
) -> anyhow::Result<Vec<(String, Transport)>> {
    let mut connectors = Vec::new();
    if process.env.get(&variables::CONNECTORS).is_some() {
        for (name, url) in &config.connectors {
            connectors.push((name.clone(), Transport::connect(url, &process.outbound)?));
        }
    }
    if !connectors.iter().any(|(name, _)| name == "mock") {
        connectors.push(("mock".to_owned(), Transport::direct(mock)));
    }
    Ok(connectors)
}
