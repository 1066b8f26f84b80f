//! The connections of the public port: accepted, bounded, and served until the process stops.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;
use tracing::{debug, warn};
use turnpike_kit::{OnExit, Tasks};

use crate::access::{
    client::Peer,
    slots::{ConnectionSlots, Slot, SlotStream},
};

/// How long a client may take to send the first byte of a request, and then to send the rest of its head.
const HEAD: Duration = Duration::from_secs(10);
/// The longest head of a request, and what is read of a body before somebody asks for it. A connection holds as much memory.
const HEAD_BYTES: usize = 16 << 10;
/// How long a client may leave what is written to it unread: two and a half of the default heartbeats.
const UNREAD: Duration = Duration::from_secs(75);
/// How long an open request may go on when the process stops.
const DRAIN: Duration = Duration::from_secs(10);
/// Before the next attempt to accept, after one has failed.
const BACK_OFF: Duration = Duration::from_millis(100);

pub(crate) async fn accept(listener: TcpListener, router: Router, slots: Arc<ConnectionSlots>, tasks: Tasks) {
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            () = tasks.stopping().cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            // The client left before it was accepted; the next one may be there.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                // Out of files, mostly: the next attempt would fail at once, too. Logged once for each row of failures.
                if !std::mem::replace(&mut failing, true) {
                    warn!(%error, "connections cannot be accepted");
                }
                tokio::time::sleep(BACK_OFF).await;
                continue;
            }
        };
        failing = false;
        let peer = Peer(peer.ip().to_canonical());
        match slots.enter(peer.0) {
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
    // A silent connection has no buffers yet.
    tokio::select! {
        readable = stream.readable() => if readable.is_err() { return },
        () = tasks.stopping().cancelled() => return,
        () = tokio::time::sleep(HEAD) => return,
    }
    Box::pin(talk(stream, peer, slot, router, tasks)).await;
}

async fn talk(stream: TcpStream, peer: Peer, slot: Slot, router: Router, tasks: Tasks) {
    // Small frames go out at once; a kernel that can't do it loses nothing but time.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(UNREAD));
    let stream = SlotStream::new(Box::pin(stream), slot);
    let service = router.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        request.map(axum::body::Body::new)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = tasks.stopping().cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(DRAIN, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection broke");
    }
}
