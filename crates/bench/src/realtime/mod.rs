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
    /// Rounds of 20/s, in each of which every server has its turn: the middle one counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// In each round, put the load of 20/s on all servers at the same time, not on one after the other. Changes of the machine's
    /// speed then affect all of them alike. Only for a few servers, because they share one core; latencies are not comparable
    #[arg(long)]
    at_once: bool,
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

/// One of the servers that are compared, and what was measured of it.
struct Compared {
    row: Row,
    /// `None`: it cannot be measured.
    server: Option<Server>,
}

/// Measures each server in turn and prints a table.
pub(crate) async fn compare(options: Compare) {
    let work = TempDir::new().expect("a temporary directory is created");
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    let mut all = Vec::new();
    if wanted("turnpike") {
        println!("measuring turnpike");
        let server = turnpike::start(SERVER).await;
        all.push(measure("turnpike", Ok(server), &options).await);
        println!("measuring turnpike, events in memory");
        let server = turnpike::start_in_memory().await;
        all.push(measure("turnpike, events in memory", Ok(server), &options).await);
    }
    for name in peers::NAMES.into_iter().filter(|name| wanted(name)) {
        println!("measuring {name}");
        let folder = options.peers.clone().unwrap_or_default();
        all.push(measure(name, peers::start(name, &folder, work.path()).await, &options).await);
    }
    paced(&mut all, &options).await;
    let rows: Vec<_> = all.into_iter().map(|one| one.row).collect();
    table::print(&rows);
    if wanted("turnpike") {
        turnpike::more(&options).await;
    }
}

/// The measurements of one server that has just started. It runs on, for those that are compared round by round.
async fn measure(name: &str, server: Result<Server, String>, options: &Compare) -> Compared {
    let row = Row { name: name.to_owned(), ..Row::default() };
    let server = match server {
        Ok(server) => server,
        Err(missing) => return Compared { row: Row { missing: Some(missing), ..row }, server: None },
    };
    // Memory first: a server keeps some of what a load needs.
    let idle = Some(load::memory(&server, options.idle).await);
    let saturated = Some(load::run(&server, Load { rate: None, ..one_topic(options) }).await);
    let groups = Some(load::run(&server, groups(options)).await);
    Compared { row: Row { saturated, groups, idle, ..row }, server: Some(server) }
}

/// The measurements at 20/s, in rounds: how fast the machine is changes within a minute, and the ratios of one round do not.
async fn paced(all: &mut [Compared], options: &Compare) {
    for round in 1..=options.rounds {
        println!("20/s, round {round}");
        let (mut rows, mut servers) = (Vec::new(), Vec::new());
        for Compared { row, server } in all.iter_mut() {
            if let Some(server) = server {
                rows.push(row);
                servers.push(&*server);
            }
        }
        let together = if options.at_once { servers.len().max(1) } else { 1 };
        let mut outcomes = Vec::new();
        for servers in servers.chunks(together) {
            outcomes.extend(load::run_at_once(servers, one_topic(options)).await);
        }
        rows.into_iter().zip(outcomes).for_each(|(row, outcome)| row.paced.push(outcome));
    }
}

/// All sockets follow one topic, with 20 payloads a second.
fn one_topic(options: &Compare) -> Load {
    Load { sockets: options.sockets, topics: 1, rate: Some(20), seconds: options.seconds, stalled: 0 }
}

/// A hundred topics of ten sockets each.
fn groups(options: &Compare) -> Load {
    Load { sockets: 1000, topics: 100, rate: Some(1000), seconds: options.seconds, stalled: 0 }
}

/// The text of an outcome that was measured beside the table.
fn line(what: &str, outcome: &Outcome) -> String {
    format!("{what}: {}", outcome.describe())
}
