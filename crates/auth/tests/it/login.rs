//! Signing in: who may, and what everybody else is told.

use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use turnpike_fault::Fault;
use turnpike_proto::auth::v1 as pb;
use turnpike_testkit::Database;

use crate::house::{House, OTHER_PASSWORD, PASSWORD, refused};

turnpike_testkit::on_both!(
    a_name_or_an_address_in_any_case,
    every_refusal_is_the_same,
    text_that_a_database_cannot_hold_is_just_another_stranger,
    a_crowd_is_answered_or_sent_away,
    a_password_that_changes_while_it_is_checked_begins_no_session,
);

async fn a_name_or_an_address_in_any_case(database: Database) {
    let house = House::new(&database).await;
    let ada = house.create("Ada.Lovelace", pb::Role::Operator).await;
    for identifier in
        ["Ada.Lovelace", "ada.lovelace", "ADA.LOVELACE", "Ada.Lovelace@example.com", " ADA.lovelace@EXAMPLE.com "]
    {
        let answer = house.sign_in(identifier, PASSWORD).await.expect(identifier);
        let user = answer.user.expect("a user");
        assert_eq!(user, ada, "{identifier}");
        assert_eq!(user.username, "Ada.Lovelace", "as it was given");
        let tokens = answer.tokens.expect("tokens");
        assert_eq!(tokens.expires_in, 900);
        assert_eq!(house.me(&tokens.access_token).await.expect("signed in"), ada);
        let expires = answer.session_expires_at.expect("an end").seconds;
        assert_eq!(expires - house.clock.now().as_second(), 24 * 3600);
    }
}

/// Everything of a refusal that a stranger sees.
fn face(status: &Status) -> (Code, String, Vec<u8>, Vec<String>) {
    let metadata = status.metadata().keys().map(|key| format!("{key:?}")).collect();
    (status.code(), status.message().to_owned(), status.details().to_vec(), metadata)
}

async fn every_refusal_is_the_same(database: Database) {
    let house = House::new(&database).await;
    let admin = house.admin().await;
    for name in ["ada", "idle", "gone"] {
        house.create(name, pb::Role::User).await;
    }
    admin.set_active(&house.enter("idle").await.user, false).await.expect("switched off");
    admin.delete(&house.enter("gone").await.user).await.expect("deleted");

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
        let status = house.sign_in(identifier, password).await.expect_err(what);
        faces.push((what, face(&status)));
    }
    let (_, first) = &faces[0];
    assert_eq!((first.0, first.1.as_str()), (Code::Unauthenticated, "Invalid credentials"));
    for (what, face) in &faces {
        assert_eq!(face, first, "{what}");
    }
    house.enter("ada").await; // none of it has locked anybody out
}

/// Counted where it is done: on one thread, by a recorder of the test's own.
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
    let house = House::new(&database).await;
    let admin = house.admin().await;
    house.create("ada", pb::Role::User).await;
    let idle = house.create("idle", pb::Role::User).await;
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
        house.sign_in(identifier, password).await.expect_err("refused");
        assert_eq!(hashes() - before, 1, "{identifier:.20} {password:.20}");
    }
    let before = hashes();
    house.enter("ada").await;
    assert_eq!(hashes() - before, 1, "as much as one who is let in");
}

async fn text_that_a_database_cannot_hold_is_just_another_stranger(database: Database) {
    let house = House::new(&database).await;
    for identifier in ["a\0b", "a\0b@example.com", "\u{7f}", "'; DROP TABLE users; --", "%", "\u{212a}"] {
        refused(house.sign_in(identifier, PASSWORD).await, Code::Unauthenticated, "INVALID_CREDENTIALS");
    }
    let request = pb::LoginRequest {
        identifier: "admin".to_owned(),
        password: PASSWORD.to_owned(),
        client_ip: "192.0.2.7\0".to_owned(),
        user_agent: format!("a\0browser\nwith lines {}", "ä".repeat(1000)),
    };
    house.client().login(request).await.expect("what is written about a session does not stand in its way");
    let sessions = house.admin().await.sessions().await.expect("the sessions");
    let odd = sessions.iter().find(|session| session.user_agent.contains("browser")).expect("it is there");
    assert!(!odd.user_agent.chars().any(char::is_control), "{:?}", odd.user_agent);
    assert!(odd.user_agent.chars().count() <= 256);
    assert_eq!(odd.ip, "192.0.2.7");
}

/// 200 at once: each gets an answer within the patience of a person, and whoever has a token does not notice.
async fn a_crowd_is_answered_or_sent_away(database: Database) {
    let house = House::new(&database).await;
    let admin = house.admin().await;
    let mut crowd = JoinSet::new();
    for n in 0..200 {
        let mut client = house.client();
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
    // Meanwhile: tokens are judged (a ListSessions asks the database, too) without waiting for hashes.
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
                        assert!(fault.retry_in().is_some(), "it says when to come back");
                        sent_away += 1;
                    }
                }
            }
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                let began = Instant::now();
                admin.me().await.expect("a token is a token");
                checks.push(began.elapsed());
            }
        }
    }
    assert!(entered > 0 && refused > 0, "some are let in and some refused whatever the crowd");
    assert!(slowest < Duration::from_secs(4), "{slowest:?}");
    // The median: on a busy machine a single one may wait for a processor.
    checks.sort();
    let usual = checks.get(checks.len() / 2).copied().unwrap_or_default();
    assert!(usual < Duration::from_millis(500), "{usual:?} of {checks:?}");
    house.admin().await; // and when the crowd has gone, it works as before
}

/// The old password was right when it was checked, and is not when the session would begin.
async fn a_password_that_changes_while_it_is_checked_begins_no_session(database: Database) {
    let house = House::new(&database).await;
    let admin = house.admin().await;
    for round in 0..5 {
        let ada = house.create(&format!("ada{round}"), pb::Role::User).await;
        let mut thieves = JoinSet::new();
        for _ in 0..12 {
            let (mut client, identifier) = (house.client(), ada.username.clone());
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
            refused(house.me(&token).await, Code::Unauthenticated, "SESSION_ENDED");
        }
        house.sign_in(&ada.username, OTHER_PASSWORD).await.expect("the new one works");
    }
}
