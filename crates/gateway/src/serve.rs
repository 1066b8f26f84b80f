//! The gateway in a process of its own.

use turnpike_identity::Revocations;
use turnpike_kit::{Process, listen, variables};
use turnpike_rpc::Transport;

use crate::{Config, Deps, Service};

/// Starts the gateway with the configuration in the environment. It runs until the process stops.
pub async fn serve(process: &Process) -> anyhow::Result<()> {
    let config = Config::new(&process.env)?;
    let listener = listen::bind_service(process, &variables::HTTP, config.http).await?;
    let bus = turnpike_bus::open_shared(process, &config.bus)?;
    let auth = Transport::connect(&config.auth_url, &process.outbound)?;
    let vehicles = Transport::connect(&config.vehicles_url, &process.outbound)?;
    let chat = Transport::connect(&config.chat_url, &process.outbound)?;
    let captions = Transport::connect(&config.captions_url, &process.outbound)?;
    let revocations = Revocations::watch(process, &bus, auth.clone());
    let service = Service::bind(config, process, Deps { bus, auth, vehicles, chat, captions, revocations }).await?;
    service.serve(process, listener)
}
