//! Starting and restarting: the first admin, the secret and the keys.

use std::{
    io::Write,
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex},
};

use turnpike_auth::POLICY;
use turnpike_proto::auth::v1 as pb;
use turnpike_testkit::Database;

use crate::harness::{Harness, OTHER_PASSWORD, PASSWORD, Setup};

turnpike_testkit::on_both!(
    a_restart_keeps_admin_keys_and_sessions,
    the_first_admin_is_created_once,
    a_weak_first_password_stops_the_start,
    two_instances_are_one_service,
);

#[test]
fn every_method_has_a_required_role() {
    assert_eq!(turnpike_rpc::mismatches(POLICY), Vec::<String>::new());
}

async fn jwks(harness: &Harness) -> String {
    harness.client().get_jwks(pb::GetJwksRequest {}).await.expect("the keys").into_inner().jwks_json
}

async fn a_restart_keeps_admin_keys_and_sessions(database: Database) {
    let mut harness = Harness::new(&database).await;
    assert!(harness.service.first_admin().is_some());
    let (admin, before) = (harness.admin().await, jwks(&harness).await);
    let rotated = harness.refresh(&admin.refresh).await.expect("a successor");
    harness.restart().await;
    assert!(harness.service.first_admin().is_none(), "there is one already");
    assert_eq!(jwks(&harness).await, before);
    assert_eq!(harness.me(admin.access.expose()).await.expect("signed in"), admin.user);
    harness.exchange(&admin.cookie).await.expect("the cookie works");
    let again = harness.refresh(&admin.refresh).await.expect("the previous token still works");
    assert_eq!(again.refresh_token, rotated.refresh_token);
    harness.admin().await;
}

async fn the_first_admin_is_created_once(database: Database) {
    let harness = Harness::new(&database).await;
    let made = harness.service.first_admin().expect("made");
    assert_eq!(made.email, "admin@turnpike.local");
    assert!(made.generated.is_none(), "a configured password is not returned");
    // neither another password nor another address creates a second admin
    let again = Setup::default()
        .with("TURNPIKE_ADMIN_PASSWORD", OTHER_PASSWORD)
        .with("TURNPIKE_ADMIN_EMAIL", "root@example.com")
        .start(&database)
        .await
        .expect("a service");
    assert!(again.service.first_admin().is_none());
    let list = again.admin().await;
    let request = list.access.request(pb::ListUsersRequest::default());
    assert_eq!(list.client().list_users(request).await.expect("a list").into_inner().users.len(), 1);
}

async fn a_weak_first_password_stops_the_start(database: Database) {
    for weak in ["short", "password1234", "admin@turnpike.local", &"x".repeat(300)] {
        let started = Setup::default().with("TURNPIKE_ADMIN_PASSWORD", weak).start(&database).await;
        let said = format!("{:#}", started.err().expect("refused"));
        assert!(said.contains("TURNPIKE_ADMIN_PASSWORD"), "{said}");
        assert!(!said.contains(weak), "{said}");
    }
    let started = Setup::default().with("TURNPIKE_ADMIN_EMAIL", "nobody").start(&database).await;
    assert!(format!("{:#}", started.err().expect("refused")).contains("TURNPIKE_ADMIN_EMAIL"));
    Harness::new(&database).await; // the failed starts have left nothing behind
}

/// Two instances start at once on an empty database: both run, there is one admin, and each accepts the sessions of the other.
async fn two_instances_are_one_service(database: Database) {
    let setup = || Setup::default().with("TURNPIKE_AUTH_SECRET", &"of both ".repeat(8));
    let (one, two) = tokio::join!(setup().start(&database), setup().start(&database));
    let (one, two) = (one.expect("the one"), two.expect("the other"));
    let made = [&one, &two].into_iter().filter(|harness| harness.service.first_admin().is_some()).count();
    assert_eq!(made, 1, "one of them has created the admin");
    let admin = one.admin().await;
    two.me(admin.access.expose()).await.expect("a token of the other");
    let successor = two.refresh(&admin.refresh).await.expect("a successor");
    let again = one.refresh(&admin.refresh).await.expect("the same one");
    assert_eq!(again.refresh_token, successor.refresh_token);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_can_read_the_secret_file() {
    let database = Database::sqlite();
    let harness = Harness::new(&database).await;
    let path = harness.data.path().join("auth.secret");
    assert_eq!(path.metadata().expect("it is there").permissions().mode() & 0o777, 0o600);
    let entries: Vec<_> = harness.data.path().read_dir().expect("a directory").collect();
    assert_eq!(entries.len(), 1, "no draft is left: {entries:?}");
}

/// Two processes that share a directory and start at once have one secret.
#[tokio::test(flavor = "multi_thread")]
async fn processes_that_start_together_share_one_secret() {
    let database = Database::sqlite();
    let harness = Harness::new(&database).await;
    std::fs::remove_file(harness.data.path().join("auth.secret")).expect("a fresh start");
    let ((_, one), (_, two)) = tokio::join!(harness.second_instance(), harness.second_instance());
    let key = async |service: &turnpike_auth::Service| {
        let transport = turnpike_rpc::Transport::direct(service.routes());
        let mut client = pb::auth_service_client::AuthServiceClient::new(transport);
        client.get_jwks(pb::GetJwksRequest {}).await.expect("the keys").into_inner().jwks_json
    };
    assert_eq!(key(&one).await, key(&two).await);
}

/// Everything that is logged, down to debug.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("the lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// On one thread, so that the log is only that of this test.
#[tokio::test]
async fn no_credential_is_ever_logged() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);

    let database = Database::sqlite();
    let harness = Setup::default().with("TURNPIKE_ADMIN_PASSWORD", "").start(&database).await.expect("a service");
    let generated = {
        use secrecy::ExposeSecret;
        let made = harness.service.first_admin().expect("made");
        made.generated.as_ref().expect("generated").expose_secret().to_owned()
    };
    let answer = harness.sign_in("admin", &generated).await.expect("the generated password works");
    let tokens = answer.tokens.expect("tokens");
    let pair = harness.refresh(&tokens.refresh_token).await.expect("a successor");
    let mut secrets = vec![generated, answer.session_token, tokens.access_token, tokens.refresh_token];
    secrets.extend([pair.access_token, pair.refresh_token]);
    harness.sign_in("admin", PASSWORD).await.expect_err("wrong");
    harness.exchange(&secrets[1]).await.expect("a token");
    harness
        .client()
        .logout(pb::LogoutRequest { session_token: secrets[1].clone(), ..Default::default() })
        .await
        .expect("out");
    secrets.push(PASSWORD.to_owned());
    secrets.push(std::fs::read_to_string(harness.data.path().join("auth.secret")).expect("the secret"));

    let logged = String::from_utf8(log.0.lock().expect("the lock").clone()).expect("text");
    assert!(logged.contains("the first admin was created"), "{logged}");
    for secret in secrets {
        assert!(!logged.contains(secret.trim()), "{secret} is in the log");
    }
}
