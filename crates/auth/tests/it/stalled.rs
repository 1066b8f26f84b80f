//! A proxy for Redis that holds back requests that contain a given text until they are released.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use turnpike_testkit::within;

/// A proxy for a Redis. It holds back requests that contain a given text.
pub(crate) struct Stalled {
    url: String,
    /// The text; no request is held while it is empty.
    hold: watch::Sender<String>,
    /// How many requests were held so far.
    held: Arc<watch::Sender<usize>>,
    _task: JoinSet<()>,
}

impl Stalled {
    pub(crate) async fn before(redis: &str) -> Self {
        let server = redis.trim_start_matches("redis://").to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let url = format!("redis://{}", listener.local_addr().expect("an address"));
        let (hold, held) = (watch::Sender::new(String::new()), Arc::new(watch::Sender::new(0)));
        let (seen, counted) = (hold.subscribe(), held.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(carry(client, server.clone(), seen.clone(), counted.clone()));
            }
        });
        Self { url, hold, held, _task: task }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Holds requests that contain this text from now on.
    pub(crate) fn hold(&self, text: &str) {
        self.hold.send_replace(text.to_owned());
    }

    /// Waits until a request is held.
    pub(crate) async fn holds_one(&self) {
        let mut held = self.held.subscribe();
        within("a request that is held", 20, async { held.wait_for(|held| *held > 0).await.map(|_| ()) })
            .await
            .expect("ours");
    }

    /// Releases the requests of each connection in their order.
    pub(crate) fn release(&self) {
        self.hold.send_replace(String::new());
    }
}

async fn carry(client: TcpStream, server: String, mut hold: watch::Receiver<String>, held: Arc<watch::Sender<usize>>) {
    let Ok(server) = TcpStream::connect(&server).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let Ok(n @ 1..) = from_client.read(&mut buffer).await else { return };
            let passes = |text: &String| {
                text.is_empty() || !buffer[..n].windows(text.len()).any(|window| window == text.as_bytes())
            };
            let passing = passes(&hold.borrow_and_update());
            if !passing {
                held.send_modify(|held| *held += 1);
                if hold.wait_for(passes).await.is_err() {
                    return;
                }
            }
            if to_server.write_all(&buffer[..n]).await.is_err() {
                return;
            }
        }
    };
    let answers = async {
        // The end of the client does not end this: its requests are still delivered.
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    };
    tokio::join!(requests, answers);
}
