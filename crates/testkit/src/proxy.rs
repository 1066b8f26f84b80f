//! A TCP proxy in front of a server. A test can close or stall its connections.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::Host;

/// Forwards connections between clients and a server until it is dropped.
pub struct Proxy {
    url: String,
    state: watch::Sender<State>,
    task: JoinHandle<()>,
    _host: Host,
}

#[derive(Clone, Copy)]
struct State {
    mode: Mode,
    /// Connections with a smaller number stay open and forward nothing.
    first_forwarded: u64,
    next_number: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Forward,
    /// Connections are accepted and stay open; no data is forwarded.
    Stall,
    /// Open connections are closed and new ones are refused.
    Refuse,
}

impl Proxy {
    /// Starts a proxy for the server of a URL such as `postgres://name@127.0.0.1:5432/database`.
    pub async fn to(url: &str) -> Self {
        let (_, rest) = url.split_once("://").expect("the URL has a host");
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let server = authority.rsplit('@').next().unwrap_or_default().to_owned();
        // The claimed address keeps the port free while the proxy refuses connections.
        let host = Host::claim();
        let address = host.address(0);
        let listener = TcpListener::bind(address).await.expect("the claimed address is free");
        let state = watch::Sender::new(State { mode: Mode::Forward, first_forwarded: 0, next_number: 0 });
        let task = tokio::spawn(run(listener, address, server.clone(), state.clone()));
        Self { url: url.replacen(&server, &address.to_string(), 1), state, task, _host: host }
    }

    /// The given URL with the address of the proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Closes connections and refuses new ones, as if the server had stopped.
    pub fn disconnect(&self) {
        self.set_mode(Mode::Refuse);
    }

    /// Keeps connections open and forwards nothing, as if the network to the server had failed.
    pub fn stall(&self) {
        self.set_mode(Mode::Stall);
    }

    /// Forwards again, including the data that was held back by [`Proxy::stall`].
    pub fn restore(&self) {
        self.set_mode(Mode::Forward);
    }

    /// Stalls the open connections for ever and forwards new ones, as if another server had taken over the address.
    pub fn stall_open_connections(&self) {
        self.state.send_modify(|state| state.first_forwarded = state.next_number);
        self.set_mode(Mode::Forward);
    }

    fn set_mode(&self, mode: Mode) {
        self.state.send_modify(|state| state.mode = mode);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.disconnect();
        self.task.abort();
    }
}

async fn run(listener: TcpListener, address: SocketAddr, server: String, state: watch::Sender<State>) {
    let mut listener = Some(listener);
    let mut changes = state.subscribe();
    loop {
        if changes.borrow_and_update().mode == Mode::Refuse {
            listener = None;
        } else if listener.is_none() {
            listener = Some(TcpListener::bind(address).await.expect("the claimed address is free"));
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            Ok((client, _)) = accepted => {
                let number = changes.borrow().next_number;
                state.send_modify(|state| state.next_number += 1);
                tokio::spawn(forward(client, server.clone(), number, state.subscribe()));
            }
        }
    }
}

async fn forward(client: TcpStream, server: String, number: u64, mut state: watch::Receiver<State>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (upstream, downstream) = (state.clone(), state.clone());
    tokio::select! {
        () = copy(from_client, to_server, number, upstream) => {}
        () = copy(from_server, to_client, number, downstream) => {}
        _ = state.wait_for(|state| state.mode == Mode::Refuse) => {}
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    number: u64,
    mut state: watch::Receiver<State>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(n @ 1..) = from.read(&mut buffer).await else { return };
        let forwards = |state: &State| state.mode == Mode::Forward && number >= state.first_forwarded;
        if state.wait_for(forwards).await.is_err() || to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}
