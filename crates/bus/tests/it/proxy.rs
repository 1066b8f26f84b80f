//! A proxy whose connections can be cut, held and released.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// Passes on every connection to another port of this machine.
pub(crate) struct Proxy {
    address: SocketAddr,
    links: Arc<Mutex<Vec<watch::Sender<Flow>>>>,
    _task: JoinSet<()>,
}

/// What a connection does with the bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Pass,
    /// New bytes of the client are kept; earlier ones arrive.
    HoldRequests,
    /// Bytes of the server are kept.
    HoldAnswers,
    /// Both are kept, and both ends stay open.
    Hold,
    Cut,
}

impl Proxy {
    /// To the server of a URL such as `redis://127.0.0.1:6379`.
    pub(crate) async fn to(url: &str) -> Self {
        let server = url.strip_prefix("redis://").and_then(|rest| rest.parse().ok()).expect("a URL with an address");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let links: Arc<Mutex<Vec<watch::Sender<Flow>>>> = Arc::default();
        let mut task = JoinSet::new();
        task.spawn(accept(listener, server, links.clone()));
        Self { address, links, _task: task }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Sets the flow of all present connections; new ones pass.
    pub(crate) fn set(&self, flow: Flow) {
        for link in self.links.lock().expect("the lock").iter() {
            link.send_replace(flow);
        }
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, links: Arc<Mutex<Vec<watch::Sender<Flow>>>>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        let (link, flow) = watch::channel(Flow::Pass);
        links.lock().expect("the lock").push(link);
        connections.spawn(pass(client, server, flow));
    }
}

async fn pass(client: TcpStream, server: SocketAddr, mut flow: watch::Receiver<Flow>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let requests = carry(from_client, to_server, flow.clone(), Flow::HoldRequests);
    let answers = carry(from_server, to_client, flow.clone(), Flow::HoldAnswers);
    tokio::select! {
        // Each direction ends separately: bytes on their way arrive also after the other end has closed.
        _ = async { tokio::join!(requests, answers) } => {}
        _ = flow.wait_for(|flow| *flow == Flow::Cut) => {}
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut flow: watch::Receiver<Flow>,
    hold: Flow,
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if flow.wait_for(|flow| *flow != hold && *flow != Flow::Hold).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
