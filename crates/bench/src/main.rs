#![doc = include_str!("../README.md")]
#![expect(clippy::print_stdout, reason = "a program that prints its results")]
#![expect(clippy::disallowed_methods, reason = "a load generator needs untracked tasks and the system clock")]

mod accept;
mod captions;
mod child;
mod fanout;
mod fleet;
mod flood;
mod history;
mod http;
mod list;
mod llm;
mod publish;
mod raw_socket;
mod reads;
mod realtime;
mod resources;
mod round_trip;
mod sockets;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "turnpike-bench", about = "Load tests and measurements of the whole product")]
struct Cli {
    #[command(subcommand)]
    measurement: Measurement,
}

#[derive(Subcommand)]
enum Measurement {
    /// Time from POST /api/commands to the first response on the WebSocket; the simulated vehicle answers without delay
    RoundTrip {
        /// Total number of commands
        #[arg(long, default_value_t = 2000)]
        commands: usize,
        /// Concurrent commands
        #[arg(long, default_value_t = 4)]
        at_once: usize,
        /// Use separate processes and Redis instead of the single process
        #[arg(long)]
        separate: bool,
        /// Each caller uses one HTTP connection and one WebSocket for all its commands, instead of a WebSocket for each command
        #[arg(long)]
        kept: bool,
    },
    /// Durably accepted commands: latency at a fixed rate, and the maximum rate
    Accept {
        /// Submissions a second for the latency measurement
        #[arg(long, default_value_t = 500)]
        rate: u64,
        /// Concurrent callers for the maximum rate
        #[arg(long, default_value_t = 64)]
        callers: usize,
        /// Duration of each measurement in seconds
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Send an Idempotency-Key with each submission
        #[arg(long)]
        keys: bool,
        /// An empty database instead of a SQLite file, such as postgres://…
        #[arg(long)]
        database: Option<String>,
    },
    /// A large fleet: no event is lost, duplicated or reordered
    Fleet {
        /// Number of vehicles
        #[arg(long, default_value_t = 5000)]
        vehicles: usize,
        /// Concurrent commands
        #[arg(long, default_value_t = 2000)]
        commands: usize,
        /// Commands whose frames are received over a WebSocket
        #[arg(long, default_value_t = 1000)]
        watchers: usize,
        /// Commands that each caller submits one after the other
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Lists with a million stored commands, and lease renewals during the lists
    List {
        /// Number of stored commands
        #[arg(long, default_value_t = 1_000_000)]
        rows: usize,
        /// An empty database instead of a SQLite file, such as postgres://…
        #[arg(long)]
        database: Option<String>,
    },
    /// Memory and CPU of an idle, authenticated WebSocket with one subscription
    Sockets {
        /// Number of WebSockets
        #[arg(long, default_value_t = 5000)]
        sockets: usize,
        /// Seconds for which the CPU of the idle sockets is measured
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Events delivered to many WebSockets for each second of CPU of the server
    FanOut {
        /// Number of WebSockets
        #[arg(long, default_value_t = 1000)]
        sockets: usize,
        /// Number of topics, at most 100; every socket follows one of them
        #[arg(long, default_value_t = 1)]
        topics: usize,
        /// Events a second in all; without it, as many as are delivered
        #[arg(long)]
        rate: Option<u64>,
        /// Bytes of an event's content
        #[arg(long, default_value_t = 128)]
        bytes: usize,
        /// Duration in seconds
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Percentage of sockets that do not read
        #[arg(long, default_value_t = 0)]
        stalled: usize,
    },
    /// HTTP reads that need one call of a service
    Reads {
        /// Connections, each with one request at a time
        #[arg(long, default_value_t = 64)]
        connections: usize,
        /// Duration in seconds for each route
        #[arg(long, default_value_t = 8)]
        seconds: u64,
    },
    /// Fan-out, latency and memory of WebSockets beside other servers
    Realtime(realtime::Compare),
    /// Serves raw frames to WebSockets, the floor of `realtime`, until it is stopped
    RealtimeFloor { port: u16 },
    /// Memory of the single process during floods of anonymous connections
    Flood {
        /// Connections that send a login
        #[arg(long, default_value_t = 3000)]
        connections: usize,
        /// Connections that send nothing
        #[arg(long, default_value_t = 15_000)]
        silent: usize,
    },
    /// Clients that are cut, stall and resume while gateways are killed and paused: every event exactly once, or reported
    History {
        /// Decides when what happens
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Number of clients, which follow every topic
        #[arg(long, default_value_t = 20)]
        clients: usize,
        /// Number of topics
        #[arg(long, default_value_t = 4)]
        topics: usize,
        /// Events a second in all
        #[arg(long, default_value_t = 1000)]
        rate: u64,
        /// Duration in seconds
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Live captions of real speech beside other recognisers: word errors, latency, cores, and a soak
    Captions(captions::Options),
    /// Publishes a second on a private Redis
    Publish {
        /// Concurrent publishes
        #[arg(long, default_value_t = 512)]
        in_flight: usize,
        /// Duration in seconds
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// The language-model gateway compared with its peers
    Llm(llm::Compare),
    /// Serves as a fast model server, the upstream of `llm`, until it is stopped
    LlmUpstream {
        /// 0: any
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
    /// Serves as a minimal gateway, the floor of `llm`, until it is stopped
    LlmFloor {
        /// 0: any
        #[arg(long, default_value_t = 0)]
        port: u16,
        /// Base URL of the model server, with its /v1
        #[arg(long)]
        upstream: String,
    },
    /// A conversation with a real model through separate processes; ./scripts/llm-story starts the model
    LlmStory {
        /// Base URL of the model server, with its /v1
        #[arg(long)]
        url: String,
        /// Its API key
        #[arg(long, default_value = "")]
        key: String,
    },
    /// Generates one load on any OpenAI-compatible server in front of `llm-upstream`
    #[command(subcommand)]
    LlmLoad(llm::Load),
}

#[tokio::main]
async fn main() {
    match Cli::parse().measurement {
        Measurement::RoundTrip { commands, at_once, separate, kept } => {
            round_trip::measure(commands, at_once, separate, kept).await;
        }
        Measurement::Accept { rate, callers, seconds, keys, database } => {
            accept::measure(rate, callers, seconds, keys, database).await;
        }
        Measurement::Fleet { vehicles, commands, watchers, rounds } => {
            fleet::measure(vehicles, commands, watchers, rounds).await;
        }
        Measurement::List { rows, database } => list::measure(rows, database).await,
        Measurement::Sockets { sockets, seconds } => sockets::measure(sockets, seconds).await,
        Measurement::FanOut { sockets, topics, rate, bytes, seconds, stalled } => {
            fanout::measure(fanout::Load { sockets, topics, rate, bytes, seconds, stalled_percent: stalled }).await;
        }
        Measurement::Reads { connections, seconds } => reads::measure(connections, seconds).await,
        Measurement::Realtime(options) => realtime::compare(options).await,
        Measurement::RealtimeFloor { port } => realtime::floor(port).await,
        Measurement::Flood { connections, silent } => flood::measure(connections, silent).await,
        Measurement::History { seed, clients, topics, rate, seconds } => {
            history::run(history::Plan { seed, clients, topics, rate, seconds }).await;
        }
        Measurement::Captions(options) => captions::measure(options).await,
        Measurement::Publish { in_flight, seconds } => publish::measure(in_flight, seconds).await,
        Measurement::Llm(options) => llm::compare(options).await,
        Measurement::LlmUpstream { port } => llm::upstream(port).await,
        Measurement::LlmFloor { port, upstream } => llm::floor(port, &upstream).await,
        Measurement::LlmStory { url, key } => llm::story(&url, &key).await,
        Measurement::LlmLoad(load) => llm::load(load).await,
    }
}
