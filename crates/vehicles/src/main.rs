//! `turnpike-vehicles`: registry, commands and history as a process of their own.

use std::process::ExitCode;

use turnpike_identity::{Revocations, Verifier};
use turnpike_kit::{listen, ops, variables};
use turnpike_rpc::Transport;
use turnpike_vehicles::{Config, Deps, Service};

fn main() -> ExitCode {
    turnpike_kit::run_service("turnpike-vehicles", async |process| {
        let config = Config::new(&process.env)?;
        let listener = listen::bind(&variables::VEHICLES_GRPC, config.grpc).await?;
        let private = listen::bind_private(&variables::VEHICLES_GRPC, config.grpc).await?;
        ops::serve(process, private);
        let bus = turnpike_bus::open_shared(process, &config.bus)?;
        let auth = Transport::connect(&config.auth_url, &process.outbound)?;
        let revocations = Revocations::watch(process, &bus, auth.clone());
        let connect = |(name, url): &(String, String)| {
            Ok::<_, turnpike_rpc::TransportError>((name.clone(), Transport::connect(url, &process.outbound)?))
        };
        let connectors = config.connectors.iter().map(connect).collect::<Result<_, _>>()?;
        let deps = Deps { bus, verifier: Verifier::remote(auth, revocations), connectors };
        let service = Service::bind(config, process, deps).await?;
        turnpike_rpc::serve(process, listener, service.routes());
        Ok(())
    })
}
