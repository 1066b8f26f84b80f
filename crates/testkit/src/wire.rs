//! A way to a server that a test may cut, or let fall silent.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::Host;

/// Stands between a client and a server; ends with its drop.
pub struct Wire {
    url: String,
    state: watch::Sender<State>,
    task: JoinHandle<()>,
    _host: Host,
}

#[derive(Clone, Copy)]
struct State {
    passes: Passes,
    /// Connections with a smaller number are dead, and nobody tells them.
    first_alive: u64,
    /// The number of the next connection.
    next: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Passes {
    All,
    Nothing,
    NotEvenConnections,
}

impl Wire {
    /// A wire to the server of a URL such as `postgres://name@127.0.0.1:5432/database`.
    pub async fn to(url: &str) -> Self {
        let (_, rest) = url.split_once("://").expect("a URL with a host");
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let server = authority.rsplit('@').next().unwrap_or_default().to_owned();
        // Nobody takes the port while the wire is cut.
        let host = Host::claim();
        let address = host.address(0);
        let listener = TcpListener::bind(address).await.expect("an address of our own");
        let state = watch::Sender::new(State { passes: Passes::All, first_alive: 0, next: 0 });
        let task = tokio::spawn(run(listener, address, server.clone(), state.clone()));
        Self { url: url.replacen(&server, &address.to_string(), 1), state, task, _host: host }
    }

    /// The same URL through the wire.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Connections break and new ones are refused, as when the server has stopped.
    pub fn cut(&self) {
        self.set(Passes::NotEvenConnections);
    }

    /// Connections stay open and nothing passes, as when the way to the server is lost.
    pub fn silence(&self) {
        self.set(Passes::Nothing);
    }

    /// As new. What was sent into a silence arrives.
    pub fn mend(&self) {
        self.set(Passes::All);
    }

    /// New connections work and the old ones stay silent for ever, as when another server has taken over an address.
    pub fn take_over(&self) {
        self.state.send_modify(|state| state.first_alive = state.next);
        self.set(Passes::All);
    }

    fn set(&self, passes: Passes) {
        self.state.send_modify(|state| state.passes = passes);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

async fn run(listener: TcpListener, address: SocketAddr, server: String, state: watch::Sender<State>) {
    let mut listener = Some(listener);
    let mut changes = state.subscribe();
    loop {
        if changes.borrow_and_update().passes == Passes::NotEvenConnections {
            listener = None;
        } else if listener.is_none() {
            listener = Some(TcpListener::bind(address).await.expect("an address of our own"));
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
                let number = changes.borrow().next;
                state.send_modify(|state| state.next += 1);
                tokio::spawn(carry(client, server.clone(), number, state.subscribe()));
            }
        }
    }
}

async fn carry(client: TcpStream, server: String, number: u64, mut state: watch::Receiver<State>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (there, back) = (state.clone(), state.clone());
    tokio::select! {
        () = one_way(from_client, to_server, number, there) => {}
        () = one_way(from_server, to_client, number, back) => {}
        _ = state.wait_for(|state| state.passes == Passes::NotEvenConnections) => {}
    }
}

async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    number: u64,
    mut state: watch::Receiver<State>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(n @ 1..) = from.read(&mut buffer).await else { return };
        let passes = |state: &State| state.passes == Passes::All && number >= state.first_alive;
        if state.wait_for(passes).await.is_err() || to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}
