//! Fan-out, latency and memory of WebSockets beside other servers: the same payloads, client and cores for each.

mod client;
mod floor;
mod load;
mod peers;
mod publisher;
mod table;
mod turnpike;

use std::path::PathBuf;

use clap::Args;
use tempfile::TempDir;

pub(crate) use self::floor::serve as floor;
use self::{
    load::{Load, Outcome},
    peers::Server,
    table::Row,
};

/// Which servers to compare, and for how long.
#[derive(Args)]
pub(crate) struct Compare {
    /// Folder of the installed peers, one folder or link each: socketio, fastapi
    #[arg(long)]
    peers: Option<PathBuf>,
    /// Only these, comma-separated: turnpike, floor, nchan, nats, mosquitto, socketio, fastapi
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Duration of each measurement in seconds
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Sockets of one topic
    #[arg(long, default_value_t = 1000)]
    sockets: usize,
    /// Sockets for the measurement of memory
    #[arg(long, default_value_t = 5000)]
    idle: usize,
}

/// The core of the server, and the core of the load generator and of Redis.
const SERVER: &str = "0";
const GENERATOR: &str = "1";
const BOTH: &str = "0,1";

/// Measures each server in turn and prints a table.
pub(crate) async fn compare(options: Compare) {
    let work = TempDir::new().expect("a temporary directory is created");
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    let mut rows = Vec::new();
    if wanted("turnpike") {
        rows.extend(turnpike::measure(&options).await);
    }
    for name in peers::NAMES.into_iter().filter(|name| wanted(name)) {
        eprint_progress(name);
        let folder = options.peers.clone().unwrap_or_default();
        rows.push(match peers::start(name, &folder, work.path()).await {
            Ok(server) => measure(name, &server, &options).await,
            Err(missing) => Row { name: name.to_owned(), missing: Some(missing), ..Row::default() },
        });
    }
    table::print(&rows);
    if wanted("turnpike") {
        turnpike::more(&options).await;
    }
}

fn eprint_progress(name: &str) {
    println!("measuring {name}");
}

/// All measurements of one server.
async fn measure(name: &str, server: &Server, options: &Compare) -> Row {
    let one = Load { sockets: options.sockets, topics: 1, rate: Some(20), seconds: options.seconds, stalled: 0 };
    let paced = load::run(server, one).await;
    let saturated = load::run(server, Load { rate: None, ..one }).await;
    let groups = load::run(server, groups(options)).await;
    let idle = load::memory(server, options.idle).await;
    let (paced, saturated, groups) = (Some(paced), Some(saturated), Some(groups));
    Row { name: name.to_owned(), missing: None, paced, saturated, groups, idle: Some(idle) }
}

/// A hundred topics of ten sockets each.
fn groups(options: &Compare) -> Load {
    Load { sockets: 1000, topics: 100, rate: Some(1000), seconds: options.seconds, stalled: 0 }
}

/// The text of an outcome that was measured beside the table.
fn line(what: &str, outcome: &Outcome) -> String {
    format!("{what}: {}", outcome.describe())
}
