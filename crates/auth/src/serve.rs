//! The service in a process of its own.

use secrecy::ExposeSecret;
use turnpike_kit::{Process, listen, variables};

use crate::{Config, Deps, Service, bootstrap::FirstAdmin};

/// Starts the service with the configuration in the environment. It runs until the process stops.
pub async fn serve(process: &Process) -> anyhow::Result<()> {
    let config = Config::new(&process.env)?;
    let listener = listen::bind_service(process, &variables::AUTH_GRPC, config.grpc).await?;
    let bus = turnpike_bus::open_shared(process, &config.bus)?;
    let service = Service::bind(config, process, Deps { bus }).await?;
    if let Some(admin) = service.first_admin() {
        print_password(admin);
    }
    turnpike_rpc::serve(process, listener, service.routes());
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a generated password is shown once, to the person who starts the process")]
fn print_password(admin: &FirstAdmin) {
    if let Some(password) = &admin.generated {
        println!("First admin: {} (username admin), password: {}", admin.email, password.expose_secret());
        println!("This password is not shown again. Change it after signing in.");
    }
}
