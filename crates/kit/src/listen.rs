//! Binding addresses at the start: a port that is in use stops the start.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::net::TcpListener;

use crate::{ConfigError, Environment, Process, Variable, ops};

/// The address in a variable. `host:0` lets the system choose the port.
pub fn address(env: &Environment, variable: &'static Variable) -> Result<SocketAddr, ConfigError> {
    env.parse(variable, "an IP address and a port such as 127.0.0.1:8080", |_| true)
}

/// The address of a service's private HTTP port: the same IP address, and a port that is higher by 1,000.
fn private_address(variable: &Variable, address: SocketAddr) -> Result<SocketAddr, ConfigError> {
    let port = match address.port() {
        0 => 0,
        port => port.checked_add(1000).ok_or_else(|| ConfigError::Invalid {
            name: variable.name,
            value: address.to_string(),
            expected: "a port up to 64535, so that the private port is a thousand further up".to_owned(),
        })?,
    };
    Ok(SocketAddr::new(address.ip(), port))
}

/// Binds an address. An error names the variable that it comes from.
pub async fn bind(variable: &Variable, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let name = variable.name;
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} ({name} says where)"))
}

/// Binds the address of a service and its private port, and serves the private port: health is known while the service starts.
pub async fn bind_service(process: &Process, variable: &Variable, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = bind(variable, address).await?;
    ops::serve(process, bind_private(variable, address).await?);
    Ok(listener)
}

async fn bind_private(variable: &Variable, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let (name, private) = (variable.name, private_address(variable, address)?);
    let about = || format!("cannot listen on {private}, the private port: {name}'s and a thousand");
    TcpListener::bind(private).await.with_context(about)
}
