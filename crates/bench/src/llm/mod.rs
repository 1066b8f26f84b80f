//! The language-model gateway compared with its peers: the same upstream, load and machine for each.

mod compare;
mod durable;
mod floor;
mod peers;
mod story;
mod streams;
mod table;
mod target;
mod unary;
mod upstream;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use target::Target;

/// Which gateways to compare, and for how long.
#[derive(Args)]
pub(crate) struct Compare {
    /// Folder of the installed peers, one folder or link each: litellm, smg, sglang-router, envoy, portkey
    #[arg(long)]
    peers: Option<PathBuf>,
    /// Only these, comma-separated: turnpike, floor, nginx, envoy, smg, sglang-router, portkey, litellm
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Duration of each measurement in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Requests a second for the latency of an answer in one piece
    #[arg(long, default_value_t = 1000)]
    rate: u64,
    /// Concurrent streams
    #[arg(long, default_value_t = 100)]
    streams: u64,
    /// Messages of the long conversation (Turnpike only)
    #[arg(long, default_value_t = 10_000)]
    messages: u64,
    /// Without the measurements of the chat API (Turnpike only)
    #[arg(long)]
    no_durable: bool,
}

/// The load of one measurement.
#[derive(Subcommand)]
pub(crate) enum Load {
    /// Latency of answers in one piece at a fixed rate
    Unary {
        #[command(flatten)]
        target: Target,
        #[arg(long, default_value_t = 1000)]
        rate: u64,
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        #[arg(long, default_value_t = 32)]
        connections: u64,
    },
    /// Answers in one piece, as many as possible
    Max {
        #[command(flatten)]
        target: Target,
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        #[arg(long, default_value_t = 32)]
        connections: u64,
    },
    /// Delay of each chunk of streamed answers
    Stream {
        #[command(flatten)]
        target: Target,
        #[arg(long, default_value_t = 100)]
        streams: u64,
        /// Chunks a second of each stream, at most 1000
        #[arg(long, default_value_t = 100)]
        rate: u64,
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Time until the upstream sees that a client has left
    Close {
        #[command(flatten)]
        target: Target,
        /// The upstream's base URL, without /v1
        #[arg(long)]
        upstream: String,
        /// Connections in each phase of an answer
        #[arg(long, default_value_t = 20)]
        count: u64,
    },
    /// Memory of an open stream
    Memory {
        #[command(flatten)]
        target: Target,
        #[arg(long, default_value_t = 500)]
        streams: u64,
    },
}

/// Compares the gateways and prints tables.
pub(crate) async fn compare(options: Compare) {
    compare::run(&options).await;
}

/// Serves as the upstream until the process ends.
pub(crate) async fn upstream(port: u16) {
    upstream::serve(port).await;
}

/// Serves as the minimal gateway until the process ends.
pub(crate) async fn floor(port: u16, upstream: &str) {
    floor::serve(port, upstream).await;
}

/// Tells and checks a story with a real model.
pub(crate) async fn story(url: &str, key: &str) {
    story::tell(url, key).await;
}

/// Generates one load and prints the result as JSON.
pub(crate) async fn load(load: Load) {
    let result = match load {
        Load::Unary { target, rate, seconds, connections } => {
            serde_json::to_string(&blocking(move || unary::at_rate(&target, rate, seconds, connections)).await)
        }
        Load::Max { target, seconds, connections } => {
            serde_json::to_string(&blocking(move || unary::maximum(&target, seconds, connections)).await)
        }
        Load::Stream { target, streams, rate, seconds } => {
            serde_json::to_string(&streams::delay(&target, streams, rate, seconds).await)
        }
        Load::Close { target, upstream, count } => {
            serde_json::to_string(&streams::closes(&target, &upstream, count).await)
        }
        Load::Memory { target, streams } => serde_json::to_string(&streams::memory_of_a_stream(&target, streams).await),
    };
    println!("{}", result.expect("the result is serialisable"));
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the measurement did not panic")
}
