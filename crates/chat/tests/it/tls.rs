//! Model servers behind https: which certificates are trusted.

use std::{net::SocketAddr, path::Path, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring::default_provider, pki_types::PrivateKeyDer},
};
use turnpike_fault::Kind;
use turnpike_testkit::Database;
use turnpike_token::Role;

use crate::{
    fake::{Fake, Plan},
    model_caller::Caller,
    world::World,
};

/// Takes TLS connections for a name and passes them on. It is stopped when it is dropped.
struct TlsServer {
    port: u16,
    accepting: JoinHandle<()>,
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// An authority, and the file of its certificate.
struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    fn new(file: &Path) -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        std::fs::write(file, params.self_signed(&key).expect("signed").pem()).expect("written");
        Self(Issuer::new(params, key))
    }

    /// A server in front of another one, with a certificate for this name.
    async fn server(&self, name: &str, behind: SocketAddr) -> TlsServer {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("compiled in")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .expect("valid");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A client that does not trust us leaves.
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut behind = TcpStream::connect(behind).await.expect("the server behind");
                    let _ = copy_bidirectional(&mut stream, &mut behind).await;
                });
            }
        });
        TlsServer { port, accepting }
    }
}

/// Whether a model server at this URL answers, if these certificates are trusted.
async fn answers(url: String, trusted: Option<&Path>) -> Result<(), Kind> {
    let mut world = World::new(Database::sqlite()).with("TURNPIKE_LLM_URL", url);
    if let Some(file) = trusted {
        world = world.with("TURNPIKE_CA_FILE", file.display());
    }
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    caller.chat(false).await.map(|_| ()).map_err(|fault| fault.kind())
}

#[tokio::test]
async fn a_server_is_asked_over_https_if_its_authority_is_trusted() {
    let folder = tempfile::tempdir().expect("a folder");
    let fake = Fake::start().await;
    fake.on("POST /v1/chat/completions", Plan::answer(&Value::Null, &["Hello"]));
    let (ours, others) = (folder.path().join("ours.pem"), folder.path().join("others.pem"));
    let authority = Authority::new(&ours);
    Authority::new(&others);

    let server = authority.server("localhost", fake.address()).await;
    let url = format!("https://localhost:{}/v1", server.port);
    assert_eq!(answers(url.clone(), Some(&ours)).await, Ok(()));
    assert_eq!(answers(url.clone(), Some(&others)).await, Err(Kind::Unavailable), "another authority");
    assert_eq!(answers(url, None).await, Err(Kind::Unavailable), "the public authorities alone");

    let misnamed = authority.server("elsewhere.example", fake.address()).await;
    let url = format!("https://localhost:{}/v1", misnamed.port);
    assert_eq!(answers(url, Some(&ours)).await, Err(Kind::Unavailable), "the certificate of another server");
    assert_eq!(fake.seen().iter().filter(|seen| seen.path == "/v1/chat/completions").count(), 1);
}
