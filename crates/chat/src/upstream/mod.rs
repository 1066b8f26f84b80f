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
//! relay.rs     Relay: the stream as an OpenAI-compatible client gets it
//! chat.rs      ChatStream: the stream as pieces of an answer
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
mod http;
mod request;
mod scripted;
mod server;
mod sse;
mod stream;

use std::sync::Arc;

use turnpike_kit::{Clock, Process, Tasks};

use crate::config;

#[allow(unused_imports, reason = "the answers will use them")]
pub use chat::{ChatMessage, ChatRequest, ChatRole, ChatStream, Piece};
pub use error::UpstreamError;
#[allow(unused_imports, reason = "the answers will use it")]
pub use request::{Endpoint, estimate_tokens};

/// The configured servers, or the scripted model if there are none.
#[derive(Clone)]
pub struct Upstreams(Arc<Inner>);

struct Inner {
    servers: Vec<server::Server>,
    model: Option<String>,
    timeouts: config::Timeouts,
    clock: Clock,
    tasks: Tasks,
}

impl Upstreams {
    /// Fails if an address may not be connected to.
    pub fn new(models: &config::Models, process: &Process) -> anyhow::Result<Self> {
        let http = http::Http::new(&process.clock, models.timeouts.connect);
        let mut servers = Vec::new();
        for (number, server) in (1..).zip(&models.servers) {
            process.outbound.permit(&server.base_url)?;
            servers.push(server::Server::new(number, server, &http)?);
        }
        if servers.is_empty() {
            let scripted = scripted::Scripted::new(&process.clock, models.scripted_delay);
            servers.push(server::Server::scripted(scripted));
        }
        Ok(Self(Arc::new(Inner {
            servers,
            model: models.model.clone(),
            timeouts: models.timeouts,
            clock: process.clock.clone(),
            tasks: process.tasks.clone(),
        })))
    }
}
