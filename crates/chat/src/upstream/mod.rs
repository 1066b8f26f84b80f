//! The servers of language models, and requests to them.
//!
//! A request goes to the configured servers in their order until one of them sends the first piece of an answer. From then on the
//! answer is that server's. A future or a stream that is dropped closes its connection.
//!
//! ```text
//! request.rs   Call: what a client asks, and the edits of its body
//! edit.rs      edits of a JSON object in place
//! server.rs    Server: one configured server
//! http.rs      the HTTP client; body.rs: the body of a response
//! attempt.rs   Upstreams::open: servers in their order, until the first piece
//! bounds.rs    Bounds: the next piece, and the whole
//! breaker.rs   Breaker: a server that fails again and again is left out
//! sse.rs       Scanner: server-sent events
//! chunk.rs     what an event means
//! stream.rs    EventStream: the events of one stream, to its one end
//! forward.rs   Upstreams::forward: a request of an OpenAI-compatible client
//! relay.rs     Relay: the stream as an OpenAI-compatible client gets it
//! chat.rs      ChatStream: the stream as pieces of an answer
//! response.rs  a response before its body is read; listed.rs: what a server listed last
//! models.rs    the models that servers list; manage.rs: loading and unloading them
//! local.rs     names a server of this machine that could be configured
//! scripted/    the built-in scripted model
//! error.rs     why there is no answer
//! ```

mod attempt;
mod body;
mod bounds;
mod breaker;
mod chat;
mod chunk;
mod edit;
mod error;
mod forward;
mod http;
mod listed;
mod local;
mod manage;
mod models;
mod relay;
mod request;
mod response;
mod scripted;
mod server;
mod sse;
mod stream;
mod structured;

use std::sync::Arc;

use turnpike_kit::{Clock, Process, Tasks};

use crate::config;

pub use chat::{ChatMessage, ChatRequest, ChatRole, ChatStream, Piece};
pub use chunk::{Chunk, Tokens};
pub use error::UpstreamError;
pub use forward::Forwarded;
pub use request::{Call, Endpoint, estimate_tokens};
pub(crate) use structured::json_answer;

/// The configured servers, or the scripted model if there are none.
#[derive(Clone)]
pub struct Upstreams(Arc<Inner>);

struct Inner {
    servers: Vec<server::Server>,
    model: Option<String>,
    timeouts: config::Timeouts,
    clock: Clock,
    tasks: Tasks,
    /// A task asks the servers for their models.
    refreshing: parking_lot::Mutex<bool>,
}

impl Upstreams {
    /// Whether no server is configured.
    pub fn is_scripted(&self) -> bool {
        self.0.servers.iter().all(server::Server::is_scripted)
    }

    /// Fails if an address may not be connected to.
    pub fn new(models: &config::Models, process: &Process) -> anyhow::Result<Self> {
        let http = http::Http::new(&process.clock, models.timeouts.connect, &models.trust);
        let mut servers = Vec::new();
        for (number, server) in (1..).zip(&models.servers) {
            process.outbound.permit(&server.base_url)?;
            servers.push(server::Server::new(number, server, &http)?);
        }
        if servers.is_empty() {
            let scripted = scripted::Scripted::new(&process.clock, models.scripted_delay);
            servers.push(server::Server::scripted(scripted));
            local::look(process, &http);
        }
        Ok(Self(Arc::new(Inner {
            servers,
            model: models.model.clone(),
            timeouts: models.timeouts,
            clock: process.clock.clone(),
            tasks: process.tasks.clone(),
            refreshing: parking_lot::Mutex::new(false),
        })))
    }
}
