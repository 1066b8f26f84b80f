#![doc = include_str!("../README.md")]
#![expect(clippy::print_stdout, reason = "a program that prints figures")]
#![expect(clippy::disallowed_methods, reason = "a load generator spawns freely, and measures with the clock")]

mod accept;
mod fleet;
mod flood;
mod http;
mod list;
mod publish;
mod round_trip;
mod sockets;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "turnpike-bench", about = "Measures what the product promises")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// From POST /api/commands to the first response at the socket, the mock's own delay at 0
    RoundTrip {
        /// Commands in all
        #[arg(long, default_value_t = 2000)]
        commands: usize,
        /// Commands at once
        #[arg(long, default_value_t = 4)]
        at_once: usize,
        /// Separate processes with Redis instead of the one process
        #[arg(long)]
        separate: bool,
        /// Each caller keeps one HTTP connection and one socket for all of its commands, instead of a socket for each command
        #[arg(long)]
        kept: bool,
    },
    /// Durably accepted commands: latency at a fixed rate, and the most a second
    Accept {
        /// Submissions a second for the latency
        #[arg(long, default_value_t = 500)]
        rate: u64,
        /// Callers at once for the rate
        #[arg(long, default_value_t = 64)]
        callers: usize,
        /// For so many seconds each
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Each submission has an Idempotency-Key
        #[arg(long)]
        keys: bool,
        /// An empty database instead of a SQLite file, such as postgres://…
        #[arg(long)]
        database: Option<String>,
    },
    /// A large fleet: no event is lost, doubled or reordered
    Fleet {
        /// Vehicles
        #[arg(long, default_value_t = 5000)]
        vehicles: usize,
        /// Commands that run at once
        #[arg(long, default_value_t = 2000)]
        commands: usize,
        /// How many of them are watched
        #[arg(long, default_value_t = 1000)]
        watchers: usize,
        /// Commands one after another, each so many times
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Lists with a million stored commands, and lease renewals beside them
    List {
        /// Stored commands
        #[arg(long, default_value_t = 1_000_000)]
        rows: usize,
        /// An empty database instead of a SQLite file, such as postgres://…
        #[arg(long)]
        database: Option<String>,
    },
    /// Memory of an idle authenticated socket with one topic
    Sockets {
        /// How many
        #[arg(long, default_value_t = 5000)]
        sockets: usize,
    },
    /// Memory of the one process while clients without an account flood it
    Flood {
        /// Connections that send a login
        #[arg(long, default_value_t = 3000)]
        connections: usize,
        /// Connections that send nothing
        #[arg(long, default_value_t = 15_000)]
        silent: usize,
    },
    /// Publishes a second on a Redis of its own
    Publish {
        /// Publishes in flight
        #[arg(long, default_value_t = 512)]
        in_flight: usize,
        /// For so many seconds
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
}

#[tokio::main]
async fn main() {
    match Cli::parse().what {
        What::RoundTrip { commands, at_once, separate, kept } => {
            round_trip::measure(commands, at_once, separate, kept).await;
        }
        What::Accept { rate, callers, seconds, keys, database } => {
            accept::measure(rate, callers, seconds, keys, database).await;
        }
        What::Fleet { vehicles, commands, watchers, rounds } => {
            fleet::measure(vehicles, commands, watchers, rounds).await;
        }
        What::List { rows, database } => list::measure(rows, database).await,
        What::Sockets { sockets } => sockets::measure(sockets).await,
        What::Flood { connections, silent } => flood::measure(connections, silent).await,
        What::Publish { in_flight, seconds } => publish::measure(in_flight, seconds).await,
    }
}
