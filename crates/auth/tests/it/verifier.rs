//! A service that verifies tokens, before and after it has received the revocations from auth.

use turnpike_event::EndReason;
use turnpike_identity::{Refusal, Revocations, Verifier};
use turnpike_kit::{Environment, Outbound, Process};
use turnpike_rpc::Transport;
use turnpike_testkit::{Database, Proxy, eventually};

use crate::harness::{Harness, SignedIn};

turnpike_testkit::on_both!(no_token_is_accepted_before_the_ended_sessions_are_known);

/// A process that has just started: it can fetch the keys, and the revocations only through a proxy.
struct Started {
    harness: Harness,
    process: Process,
    proxy: Proxy,
    verifier: Verifier,
}

impl Started {
    async fn new(harness: Harness) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        turnpike_rpc::serve(&harness.process, listener, harness.service.routes());
        let proxy = Proxy::to(&format!("http://{address}")).await;
        proxy.disconnect();
        let auth = Transport::direct(harness.service.routes());
        let late = Transport::connect(proxy.url(), &Outbound::default()).expect("a URL");
        let none: [(&str, &str); 0] = [];
        let process = Process::new(Environment::new(none).expect("nothing"), harness.clock.clone()).expect("a process");
        let revocations = Revocations::watch(&process, harness.bus(), late);
        let verifier = Verifier::remote(auth, revocations);
        Self { harness, process, proxy, verifier }
    }

    async fn verify(&self, who: &SignedIn) -> Result<(), Refusal> {
        self.verifier.verify(who.access.expose(), self.harness.clock.now()).await.map(|_| ())
    }
}

async fn no_token_is_accepted_before_the_ended_sessions_are_known(database: Database) {
    let harness = Harness::new(&database).await;
    let (ended, open, later) = (harness.admin().await, harness.admin().await, harness.admin().await);
    let (ended_id, later_id) = (ended.session_id().await, later.session_id().await);
    let mut listener = harness.listen().await;
    ended.log_out().await;
    listener.end_of(ended_id).await; // before the process starts, which therefore does not hear it
    let started = Started::new(harness).await;
    assert_eq!(started.verify(&ended).await, Err(Refusal::Unavailable));
    assert_eq!(
        started.verify(&open).await,
        Err(Refusal::Unavailable),
        "the service does not know yet which sessions have ended"
    );
    eventually("readiness to name what is missing", 10, || async {
        let missing = started.process.health.missing();
        missing.get("auth").is_some_and(|why| why.contains("ended sessions")).then_some(())
    })
    .await;

    started.proxy.restore();
    started.process.health.ready().await;
    assert_eq!(started.verify(&ended).await, Err(Refusal::SessionEnded));
    assert_eq!(started.verify(&open).await, Ok(()));

    // Later the list stays in use while auth cannot be reached, and the topic keeps it current.
    started.proxy.disconnect();
    let mut listener = started.harness.listen().await;
    later.log_out().await;
    assert_eq!(listener.end_of(later_id).await, EndReason::Logout);
    eventually("the end of a session to be heard", 10, || async {
        (started.verify(&later).await == Err(Refusal::SessionEnded)).then_some(())
    })
    .await;
    assert_eq!(started.verify(&ended).await, Err(Refusal::SessionEnded));
    assert_eq!(started.verify(&open).await, Ok(()));
}
