//! Limits of password attempts, and accounts that are not locked out by attempts of others.

use std::collections::BTreeSet;

use sqlx::Row;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use turnpike_fault::Fault;
use turnpike_proto::auth::v1::{self as pb, auth_service_client::AuthServiceClient};
use turnpike_rpc::Transport;
use turnpike_testkit::{Database, eventually};

use crate::harness::{Harness, OTHER_PASSWORD, PASSWORD, Setup, login_request, refused};

turnpike_testkit::on_both!(
    five_failures_a_minute_for_an_account_from_an_address,
    password_checks_within_a_session_are_limited,
    an_account_signs_in_where_it_has_signed_in_before,
    an_attempt_that_was_not_checked_does_not_count_for_the_address,
    an_account_that_is_guessed_from_many_addresses_signs_in_from_a_known_one,
    a_lockout_survives_a_restart_and_ends_by_itself,
    instances_count_together,
    parallel_attempts_do_not_exceed_the_limit,
    limits_store_no_names_and_are_removed,
);

async fn limited(database: &Database) -> Harness {
    Setup::default().with("TURNPIKE_LIMIT_LOGINS_PER_MINUTE", "5").start(database).await.expect("a service")
}

/// Asserts a refusal by a limit; returns the seconds to wait.
#[track_caller]
fn limited_for<T>(answer: Result<T, Status>) -> u64 {
    let Err(status) = answer else { panic!("not refused by a limit") };
    let fault = Fault::from(&status);
    assert_eq!((status.code(), fault.code()), (Code::ResourceExhausted, "RATE_LIMITED"), "{status:?}");
    let wait = fault.retry_in().expect("when to try again").as_secs();
    assert!((1..=60).contains(&wait), "{wait}");
    wait
}

async fn five_failures_a_minute_for_an_account_from_an_address(database: Database) {
    let harness = limited(&database).await;
    harness.create("ada", pb::Role::User).await;
    for _ in 0..20 {
        harness.enter("ada").await; // a right password does not count
    }
    for _ in 0..5 {
        refused(harness.sign_in("ada", "wrong").await, Code::Unauthenticated, "INVALID_CREDENTIALS");
    }
    for same in ["ada", "ADA", " ada", "ada@example.com"] {
        limited_for(harness.sign_in(same, PASSWORD).await);
    }
    harness.enter("admin").await; // another account from the same address
    harness.pass(12);
    harness.enter("ada").await; // one more each twelve seconds
    let elsewhere = harness.sign_in_from("198.51.100.1", "ada", "wrong").await;
    refused(elsewhere, Code::Unauthenticated, "INVALID_CREDENTIALS");
}

async fn password_checks_within_a_session_are_limited(database: Database) {
    let harness = limited(&database).await;
    let stolen = harness.admin().await;
    for _ in 0..5 {
        let guess = stolen.change_password("a guess", OTHER_PASSWORD).await;
        refused(guess, Code::InvalidArgument, "INVALID_PASSWORD");
    }
    limited_for(stolen.change_password(PASSWORD, OTHER_PASSWORD).await);
    harness.admin().await; // signing in is not affected
}

/// Fifty wrong passwords from one address use up its limit.
async fn use_up_the_address_limit(harness: &Harness) {
    let mut checked = 0;
    for n in 0..60 {
        match harness.sign_in(&format!("name{}", n % 20), "wrong").await {
            Err(status) if status.code() == Code::Unauthenticated => checked += 1,
            answer => {
                limited_for(answer);
            }
        }
    }
    assert_eq!(checked, 50, "an address has ten times the failures of an account");
}

async fn an_account_signs_in_where_it_has_signed_in_before(database: Database) {
    let harness = limited(&database).await;
    harness.admin().await; // from the same address
    let ada = harness.create("ada", pb::Role::User).await;
    harness.sign_in_from("198.51.100.1", "ada", PASSWORD).await.expect("from another address");
    use_up_the_address_limit(&harness).await;

    harness.admin().await;
    limited_for(harness.sign_in("ada", PASSWORD).await);

    // A guess gets the same response whether the account is known at the address, unknown there, or no account at all.
    let bytes = |answer: Result<_, Status>| {
        let Err(status) = answer else { panic!("not refused") };
        (status.code(), status.message().to_owned(), status.details().to_vec())
    };
    let known = bytes(harness.sign_in("admin", "wrong").await.map(|_| ()));
    assert_eq!(known, bytes(harness.sign_in(&ada.username, "wrong").await.map(|_| ())));
    assert_eq!(known, bytes(harness.sign_in("nobody", "wrong").await.map(|_| ())));

    // Its own limit at this address still holds.
    for _ in 0..4 {
        limited_for(harness.sign_in("admin", "wrong").await);
    }
    limited_for(harness.sign_in("admin", PASSWORD).await);
    harness.pass(60);
    harness.admin().await;
    harness.enter("ada").await;
}

async fn an_attempt_that_was_not_checked_does_not_count_for_the_address(database: Database) {
    let harness = limited(&database).await;
    for name in ["ada", "bob"] {
        harness.create(name, pb::Role::User).await;
    }
    // A script with an old password.
    for n in 0..150 {
        let answer = harness.sign_in("ada", OTHER_PASSWORD).await;
        match n {
            0..5 => refused(answer, Code::Unauthenticated, "INVALID_CREDENTIALS"),
            _ => {
                limited_for(answer);
            }
        }
    }
    harness.enter("bob").await; // for the first time from there
}

async fn an_account_that_is_guessed_from_many_addresses_signs_in_from_a_known_one(database: Database) {
    let harness = limited(&database).await;
    harness.admin().await;
    for n in 0..55 {
        let answer = harness.sign_in_from(&format!("198.51.100.{n}"), "admin", "wrong").await;
        match n {
            0..50 => refused(answer, Code::Unauthenticated, "INVALID_CREDENTIALS"),
            _ => {
                limited_for(answer);
            }
        }
    }
    limited_for(harness.sign_in_from("203.0.113.1", "admin", PASSWORD).await);
    harness.admin().await;
}

async fn a_lockout_survives_a_restart_and_ends_by_itself(database: Database) {
    let mut harness = limited(&database).await;
    for _ in 0..5 {
        refused(harness.sign_in("admin", "wrong").await, Code::Unauthenticated, "INVALID_CREDENTIALS");
    }
    harness.restart().await;
    limited_for(harness.sign_in("admin", PASSWORD).await);
    harness.pass(12);
    harness.admin().await;
}

async fn instances_count_together(database: Database) {
    let harness = limited(&database).await;
    let (_process, other) = harness.second_instance().await;
    let mut other = AuthServiceClient::new(Transport::direct(other.routes()));
    for n in 0..5 {
        let request = login_request("192.0.2.7", "admin", "wrong");
        let answer = match n % 2 {
            0 => harness.sign_in("admin", "wrong").await.map(|_| ()),
            _ => other.login(request).await.map(|_| ()),
        };
        refused(answer, Code::Unauthenticated, "INVALID_CREDENTIALS");
    }
    limited_for(harness.sign_in("admin", PASSWORD).await);
    limited_for(other.login(login_request("192.0.2.7", "admin", PASSWORD)).await);
}

async fn parallel_attempts_do_not_exceed_the_limit(database: Database) {
    let harness = limited(&database).await;
    let (_process, other) = harness.second_instance().await;
    let other = AuthServiceClient::new(Transport::direct(other.routes()));
    let mut attempts = JoinSet::new();
    for n in 0..40 {
        let mut client = if n % 2 == 0 { harness.client() } else { other.clone() };
        attempts.spawn(async move { client.login(login_request("192.0.2.7", "admin", "wrong")).await });
    }
    let answers = attempts.join_all().await;
    let checked =
        answers.iter().filter(|answer| answer.as_ref().is_err_and(|status| status.code() == Code::Unauthenticated));
    assert_eq!(checked.count(), 5);
    for answer in answers {
        if answer.as_ref().is_err_and(|status| status.code() != Code::Unauthenticated) {
            limited_for(answer);
        }
    }
}

/// Every text that is stored for the limits.
async fn kept(database: &Database) -> BTreeSet<String> {
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(database.url()).await.expect("the database");
    let mut texts = BTreeSet::new();
    for sql in ["SELECT key AS text FROM limits", "SELECT address AS text FROM known_addresses"] {
        for row in sqlx::query(sql).fetch_all(&pool).await.expect("the rows") {
            texts.insert(row.get("text"));
        }
    }
    pool.close().await;
    texts
}

async fn limits_store_no_names_and_are_removed(database: Database) {
    let harness = limited(&database).await;
    harness.admin().await;
    refused(harness.sign_in("somebody@example.com", "wrong").await, Code::Unauthenticated, "INVALID_CREDENTIALS");
    let texts = kept(&database).await;
    // What the admin's own sign-in has counted and given back may be removed already.
    assert!(texts.len() >= 3, "an account, an address, which is that of the admin, too, and both: {texts:?}");
    for text in &texts {
        for name in ["somebody", "example.com", "admin", "192.0.2.7"] {
            assert!(!text.contains(name), "{text} names {name}");
        }
        assert!(text.len() < 64, "{text}");
    }
    eventually("expired counters to be removed", 10, || async {
        harness.pass(60);
        (kept(&database).await.len() == 1).then_some(())
    })
    .await;
    eventually("an address without sign-ins for months to be removed", 10, || async {
        harness.pass(100 * 24 * 3600);
        kept(&database).await.is_empty().then_some(())
    })
    .await;
}
