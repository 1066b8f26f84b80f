//! The service in a process of its own.

use turnpike_identity::{Revocations, Verifier};
use turnpike_kit::{Process, listen, variables};
use turnpike_rpc::Transport;

use crate::{Config, Deps, Service};

/// Starts the service with the configuration in the environment. It runs until the process stops.
pub async fn serve(process: &Process) -> anyhow::Result<()> {
    let config = Config::new(&process.env)?;
    let listener = listen::bind_service(process, &variables::CAPTIONS_GRPC, config.grpc).await?;
    let bus = turnpike_bus::open_shared(process, &config.bus)?;
    let auth = Transport::connect(&config.auth_url, &process.outbound)?;
    let chat = Transport::connect(&config.chat_url, &process.outbound)?;
    let revocations = Revocations::watch(process, &bus, auth.clone());
    let deps = Deps { bus, verifier: Verifier::remote(auth, revocations), chat, engines: None };
    let service = Service::bind(config, process, deps).await?;
    turnpike_rpc::serve(process, listener, service.routes());
    Ok(())
}
