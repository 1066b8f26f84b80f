//! `turnpike-auth`: users, sessions and tokens as a process of their own.

use std::process::ExitCode;

use secrecy::ExposeSecret;
use turnpike_auth::{Config, Service};
use turnpike_kit::{listen, ops, variables};

#[expect(clippy::print_stdout, reason = "a generated password is shown once, to who started the process")]
fn main() -> ExitCode {
    turnpike_kit::run_service("turnpike-auth", async |process| {
        let config = Config::new(&process.env)?;
        let listener = listen::bind(&variables::AUTH_GRPC, config.grpc).await?;
        let private = listen::bind_private(&variables::AUTH_GRPC, config.grpc).await?;
        ops::serve(process, private);
        let bus = turnpike_bus::open_shared(process, &config.bus)?;
        let service = Service::bind(config, process, &bus).await?;
        if let Some((admin, password)) = service.first_admin().and_then(|a| Some((a, a.generated.as_ref()?))) {
            println!("First admin: {} (username admin), password: {}", admin.email, password.expose_secret());
            println!("This password is not shown again. Change it after signing in.");
        }
        turnpike_rpc::serve(process, listener, service.routes());
        Ok(())
    })
}
