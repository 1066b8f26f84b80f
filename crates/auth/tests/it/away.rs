//! Outages of the database.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tonic::Code;
use turnpike_event::EndReason;
use turnpike_testkit::{Database, eventually};

use crate::harness::{PASSWORD, Setup, code};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Pass,
    /// Connections break, and new ones break as well.
    Cut,
    /// Bytes are held back; connections stay open.
    Silent,
}

/// A proxy for the Postgres of the tests.
struct Wire {
    address: SocketAddr,
    flow: watch::Sender<Flow>,
    _task: JoinSet<()>,
}

impl Wire {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (flow, seen) = watch::channel(Flow::Pass);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut wires = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                wires.spawn(carry(client, server.clone(), seen.clone()));
            }
        });
        Self { address, flow, _task: task }
    }
}

async fn carry(mut client: TcpStream, server: String, mut flow: watch::Receiver<Flow>) {
    if *flow.borrow() == Flow::Silent {
        let _ = flow.wait_for(|flow| *flow != Flow::Silent).await;
    }
    if *flow.borrow() == Flow::Cut {
        return;
    }
    let Ok(mut server) = TcpStream::connect(&server).await else { return };
    tokio::select! {
        biased; // no bytes pass once the flow has changed
        _ = flow.wait_for(|flow| *flow != Flow::Pass) => {}
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
    }
    // Held, not closed: both ends continue to wait.
    let _ = flow.wait_for(|flow| *flow != Flow::Silent).await;
}

/// The same database over a proxy.
async fn wired(database: &Database) -> (Wire, String) {
    let (scheme, rest) = database.url().split_once("://").expect("a URL");
    let (user, rest) = rest.split_once('@').expect("a user");
    let (host, path) = rest.split_once('/').expect("a path");
    let wire = Wire::to(host.to_owned()).await;
    let url = format!("{scheme}://{user}@{}/{path}", wire.address);
    (wire, url)
}

async fn is_unavailable_and_recovers(flow: Flow) {
    let database = Database::postgres().await;
    let (wire, url) = wired(&database).await;
    let harness = Setup::default().start_at(&url).await.expect("a service");
    let (admin, other) = (harness.admin().await, harness.admin().await);
    let (session, mut listener) = (other.session_id().await, harness.listen().await);
    wire.flow.send_replace(flow);
    for _ in 0..3 {
        let began = Instant::now();
        let (me, login) = tokio::join!(admin.me(), harness.sign_in("admin", PASSWORD));
        let took = began.elapsed();
        for status in [me.map(|_| ()).expect_err("away"), login.map(|_| ()).expect_err("away")] {
            assert_eq!((status.code(), code(&status).as_str()), (Code::Unavailable, "UPSTREAM_UNAVAILABLE"));
        }
        assert!(took < Duration::from_secs(3), "{flow:?}: {took:?}");
    }
    eventually("a process that is not ready", 10, || async {
        harness.process.health.missing().contains_key("auth database").then_some(())
    })
    .await;
    wire.flow.send_replace(Flow::Pass);
    eventually("the database again", 10, || async { admin.me().await.ok() }).await;
    other.log_out().await;
    assert_eq!(listener.end_of(session).await, EndReason::Logout, "later events are published");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_disconnects_is_unavailable_and_recovers() {
    is_unavailable_and_recovers(Flow::Cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_answer_is_unavailable_and_recovers() {
    is_unavailable_and_recovers(Flow::Silent).await;
}
