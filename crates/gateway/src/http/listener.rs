//! The connections of the public port: accepted, bounded, and served until the process stops.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;
use tracing::{debug, warn};
use turnpike_kit::{OnExit, Tasks};

use super::client_stream::ClientStream;
use crate::{
    access::{
        client::Peer,
        slots::{ConnectionSlots, Slot},
    },
    config::WRITE_TIMEOUT,
};

/// How long a client may take to send the first byte of a request, and then to send the rest of its head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest head of a request, and the part of a body that is read before its handler reads it. A connection uses as much
/// memory.
const HEAD_BYTES: usize = 16 << 10;
/// How long an open request may take when the process stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// The delay after an attempt to accept that failed.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

pub(crate) async fn accept(listener: TcpListener, router: Router, slots: Arc<ConnectionSlots>, tasks: Tasks) {
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            () = tasks.stopping().cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            // The client left before its connection was accepted. The next connection may be waiting.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                // Mostly the limit of open files, so the next attempt would fail at once, too. Logged once for consecutive
                // failures.
                if !std::mem::replace(&mut failing, true) {
                    warn!(%error, "connections cannot be accepted; clients cannot connect until this ends");
                }
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                continue;
            }
        };
        failing = false;
        let peer = Peer(peer.ip().to_canonical());
        match slots.take(peer.0) {
            Ok(slot) => {
                let connection = serve(stream, peer, slot, router.clone(), tasks.clone());
                tasks.spawn("connection", OnExit::Continue, connection);
            }
            Err(full) => {
                metrics::counter!("turnpike_gateway_connections_refused_total", "limit" => full.as_str()).increment(1);
            }
        }
    }
}

async fn serve(stream: TcpStream, peer: Peer, slot: Slot, router: Router, tasks: Tasks) {
    // Until the first byte arrives, the connection has no buffers.
    tokio::select! {
        readable = stream.readable() => if readable.is_err() { return },
        () = tasks.stopping().cancelled() => return,
        () = tokio::time::sleep(HEAD_TIMEOUT) => return,
    }
    Box::pin(serve_http(stream, peer, slot, router, tasks)).await;
}

async fn serve_http(stream: TcpStream, peer: Peer, slot: Slot, router: Router, tasks: Tasks) {
    // Small frames are sent at once. If the kernel refuses the option, they are only later.
    let _ = stream.set_nodelay(true);
    let stream = ClientStream::new(stream, slot, WRITE_TIMEOUT);
    let service = router.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        request.map(axum::body::Body::new)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = tasks.stopping().cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(DRAIN_TIMEOUT, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection broken");
    }
}
