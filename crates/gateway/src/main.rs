//! `turnpike-gateway`: the public door as a process of its own.

use std::process::ExitCode;

use turnpike_gateway::{Config, Deps, Service};
use turnpike_identity::Revocations;
use turnpike_kit::{listen, ops, variables};
use turnpike_rpc::Transport;

fn main() -> ExitCode {
    turnpike_kit::run_service("turnpike-gateway", async |process| {
        let config = Config::new(&process.env)?;
        let listener = listen::bind(&variables::HTTP, config.http).await?;
        let private = listen::bind_private(&variables::HTTP, config.http).await?;
        ops::serve(process, private);
        let bus = turnpike_bus::open_shared(process, &config.bus)?;
        let auth = Transport::connect(&config.auth_url, &process.outbound)?;
        let vehicles = Transport::connect(&config.vehicles_url, &process.outbound)?;
        let revocations = Revocations::watch(process, &bus, auth.clone());
        Service::new(config, process, Deps { bus, auth, vehicles, revocations }).serve(process, listener)
    })
}
