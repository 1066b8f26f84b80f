//! Signing in, and the one response to every failure.

use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use turnpike_fault::Fault;
use turnpike_proto::auth::v1 as pb;
use turnpike_testkit::Database;

use crate::harness::{Harness, OTHER_PASSWORD, PASSWORD, refused};

turnpike_testkit::on_both!(
    username_and_email_are_accepted_in_any_case,
    every_refusal_is_the_same,
    text_that_a_database_cannot_store_is_an_unknown_account,
    two_hundred_sign_ins_at_once_are_answered_or_refused,
    a_password_that_changes_while_it_is_checked_begins_no_session,
);

async fn username_and_email_are_accepted_in_any_case(database: Database) {
    let harness = Harness::new(&database).await;
    let ada = harness.create("Ada.Lovelace", pb::Role::Operator).await;
    for identifier in
        ["Ada.Lovelace", "ada.lovelace", "ADA.LOVELACE", "Ada.Lovelace@example.com", " ADA.lovelace@EXAMPLE.com "]
    {
        let answer = harness.sign_in(identifier, PASSWORD).await.expect(identifier);
        let user = answer.user.expect("a user");
        assert_eq!(user, ada, "{identifier}");
        assert_eq!(user.username, "Ada.Lovelace", "as it was given");
        let tokens = answer.tokens.expect("tokens");
        assert_eq!(tokens.expires_in, 900);
        assert_eq!(harness.me(&tokens.access_token).await.expect("signed in"), ada);
        let expires = answer.session_expires_at.expect("an end").seconds;
        assert_eq!(expires - harness.clock.now().as_second(), 24 * 3600);
    }
}

/// Every part of a refusal that a caller sees.
fn visible_parts(status: &Status) -> (Code, String, Vec<u8>, Vec<String>) {
    let metadata = status.metadata().keys().map(|key| format!("{key:?}")).collect();
    (status.code(), status.message().to_owned(), status.details().to_vec(), metadata)
}

async fn every_refusal_is_the_same(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    for name in ["ada", "idle", "gone"] {
        harness.create(name, pb::Role::User).await;
    }
    admin.set_active(&harness.enter("idle").await.user, false).await.expect("switched off");
    admin.delete(&harness.enter("gone").await.user).await.expect("deleted");

    let long = "x".repeat(100_000);
    let tries = [
        ("wrong", "ada", "correct horse battery stable"),
        ("unknown", "nobody", PASSWORD),
        ("unknown address", "nobody@example.com", PASSWORD),
        ("inactive", "idle", PASSWORD),
        ("inactive and wrong", "idle", "something else"),
        ("deleted", "gone", PASSWORD),
        ("deleted address", "gone@example.com", PASSWORD),
        ("no name", "", PASSWORD),
        ("no password", "ada", ""),
        ("an over-long password", "ada", &long),
        ("an over-long name", &long, PASSWORD),
        ("an over-long password of nobody", "nobody", &long),
    ];
    let mut faces = Vec::new();
    for (what, identifier, password) in tries {
        let status = harness.sign_in(identifier, password).await.expect_err(what);
        faces.push((what, visible_parts(&status)));
    }
    let (_, first) = &faces[0];
    assert_eq!((first.0, first.1.as_str()), (Code::Unauthenticated, "Invalid credentials"));
    for (what, visible_parts) in &faces {
        assert_eq!(visible_parts, first, "{what}");
    }
    harness.enter("ada").await; // no account is locked out
}

/// On one thread, so that the test's own recorder counts.
#[tokio::test]
async fn every_refusal_takes_exactly_one_hash() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let (handle, _recording) = (recorder.handle(), metrics::set_default_local_recorder(&recorder));
    let hashes = || {
        let text = handle.render();
        let line = text.lines().find_map(|line| line.strip_prefix("turnpike_auth_hashes_total "));
        line.map_or(0_u64, |count| count.parse().expect("a number"))
    };
    let database = Database::sqlite();
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    harness.create("ada", pb::Role::User).await;
    let idle = harness.create("idle", pb::Role::User).await;
    admin.set_active(&idle, false).await.expect("switched off");
    let long = "x".repeat(100_000);
    for (identifier, password) in [
        ("ada", "wrong"),
        ("nobody", PASSWORD),
        ("idle", PASSWORD),
        ("ada", long.as_str()),
        (long.as_str(), ""),
        ("", ""),
    ] {
        let before = hashes();
        harness.sign_in(identifier, password).await.expect_err("refused");
        assert_eq!(hashes() - before, 1, "{identifier:.20} {password:.20}");
    }
    let before = hashes();
    harness.enter("ada").await;
    assert_eq!(hashes() - before, 1, "as many as for a successful sign-in");
}

async fn text_that_a_database_cannot_store_is_an_unknown_account(database: Database) {
    let harness = Harness::new(&database).await;
    for identifier in ["a\0b", "a\0b@example.com", "\u{7f}", "'; DROP TABLE users; --", "%", "\u{212a}"] {
        refused(harness.sign_in(identifier, PASSWORD).await, Code::Unauthenticated, "INVALID_CREDENTIALS");
    }
    let request = pb::LoginRequest {
        identifier: "admin".to_owned(),
        password: PASSWORD.to_owned(),
        client_ip: "192.0.2.7\0".to_owned(),
        user_agent: format!("a\0browser\nwith lines {}", "ä".repeat(1000)),
    };
    harness.client().login(request).await.expect("unusual text in a user agent is accepted");
    let sessions = harness.admin().await.sessions().await.expect("the sessions");
    let odd = sessions.iter().find(|session| session.user_agent.contains("browser")).expect("it is there");
    assert!(!odd.user_agent.chars().any(char::is_control), "{:?}", odd.user_agent);
    assert!(odd.user_agent.chars().count() <= 256);
    assert_eq!(odd.ip, "192.0.2.7");
}

/// Each of 200 sign-ins at once gets an answer within some seconds, and calls with a token are not delayed.
async fn two_hundred_sign_ins_at_once_are_answered_or_refused(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    let mut crowd = JoinSet::new();
    for n in 0..200 {
        let mut client = harness.client();
        crowd.spawn(async move {
            let request = pb::LoginRequest {
                identifier: if n % 2 == 0 { "admin".to_owned() } else { format!("nobody{n}") },
                password: PASSWORD.to_owned(),
                client_ip: "192.0.2.7".to_owned(),
                user_agent: String::new(),
            };
            let began = Instant::now();
            (client.login(request).await.map_err(|status| Fault::from(&status)), began.elapsed())
        });
    }
    // Meanwhile tokens are verified (and ListSessions reads the database) without waiting for hashes.
    let mut checks = Vec::new();
    let (mut entered, mut refused, mut sent_away) = (0, 0, 0);
    let mut slowest = Duration::ZERO;
    while entered + refused + sent_away < 200 {
        tokio::select! {
            Some(answer) = crowd.join_next() => {
                let (answer, took) = answer.expect("no panic");
                slowest = slowest.max(took);
                match answer {
                    Ok(_) => entered += 1,
                    Err(fault) if fault.code() == "INVALID_CREDENTIALS" => refused += 1,
                    Err(fault) => {
                        assert_eq!(fault.code(), "UPSTREAM_UNAVAILABLE", "{fault}");
                        assert!(fault.retry_in().is_some(), "the refusal has a time to retry");
                        sent_away += 1;
                    }
                }
            }
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                let began = Instant::now();
                admin.me().await.expect("the token is valid");
                checks.push(began.elapsed());
            }
        }
    }
    assert!(entered > 0 && refused > 0, "some are signed in and some are refused");
    assert!(slowest < Duration::from_secs(4), "{slowest:?}");
    // The median: on a busy machine single calls can be slow.
    checks.sort();
    let usual = checks.get(checks.len() / 2).copied().unwrap_or_default();
    assert!(usual < Duration::from_millis(500), "{usual:?} of {checks:?}");
    harness.admin().await; // afterwards it works as before
}

/// The password is right when it is checked, and replaced before the session begins.
async fn a_password_that_changes_while_it_is_checked_begins_no_session(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    for round in 0..5 {
        let ada = harness.create(&format!("ada{round}"), pb::Role::User).await;
        let mut thieves = JoinSet::new();
        for _ in 0..12 {
            let (mut client, identifier) = (harness.client(), ada.username.clone());
            thieves.spawn(async move {
                let request = pb::LoginRequest { identifier, password: PASSWORD.to_owned(), ..Default::default() };
                client.login(request).await.map(|answer| answer.into_inner().tokens.expect("tokens").access_token)
            });
        }
        tokio::task::yield_now().await;
        let new = pb::UpdateUserRequest {
            user_id: ada.id.clone(),
            password: Some(OTHER_PASSWORD.to_owned()),
            ..Default::default()
        };
        admin.update(new).await.expect("another password");
        for answer in thieves.join_all().await {
            let Ok(token) = answer else { continue };
            refused(harness.me(&token).await, Code::Unauthenticated, "SESSION_ENDED");
        }
        harness.sign_in(&ada.username, OTHER_PASSWORD).await.expect("the new one works");
    }
}
