//! `echo <address>`: sockets that send every message back, on the gateway's own stack. `scripts/autobahn` tests it.

use std::time::Duration;

use tokio::net::TcpListener;
use turnpike_kit::{Clock, Environment, Process};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    let process = Process::new(Environment::new(Vec::<(String, String)>::new())?, Clock::system())?;
    turnpike_gateway::serve_echo(&process, TcpListener::bind(address).await?);
    tokio::signal::ctrl_c().await?;
    process.stop(Duration::from_secs(5)).await;
    Ok(())
}
