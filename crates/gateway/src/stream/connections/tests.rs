//! Sessions that end around the registration of a connection, and the limit of connections of one user.

use std::{collections::HashSet, time::Duration};

use jiff::Timestamp;
use tokio::sync::Notify;
use turnpike_identity::AccessToken;
use turnpike_token::Role;
use uuid::Uuid;

use super::*;

type Ended = Arc<Mutex<HashSet<SessionId>>>;

/// A registry, and the sessions that have ended.
fn registry(per_user: u32) -> (Connections, Ended) {
    let ended = Ended::default();
    let known = ended.clone();
    let check = move |claims: &Claims| match known.lock().contains(&claims.session_id) {
        true => Err(Refusal::SessionEnded),
        false => Ok(()),
    };
    (Connections::new(per_user, Clock::system(), check), ended)
}

pub(super) fn caller(session: SessionId) -> Caller {
    let claims = Claims {
        user_id: UserId::from(Uuid::nil()),
        session_id: session,
        token_id: Uuid::nil(),
        username: "ada".into(),
        role: Role::User,
        issued_at: Timestamp::UNIX_EPOCH,
        expires_at: Timestamp::MAX,
        auth_time: Timestamp::UNIX_EPOCH,
        api_key: None,
    };
    Caller { claims, token: AccessToken::new("token") }
}

#[test]
fn a_session_that_ends_between_its_check_and_its_registration_is_refused() {
    let (connections, ended) = registry(0);
    let session = SessionId::from(Uuid::now_v7());
    let verified = caller(session);
    // The watcher does this, in this order, when it learns of the end. The connection is not in the table yet.
    ended.lock().insert(session);
    connections.end_session(session);
    assert_eq!(connections.register(&verified, Origin::unknown()).err(), Some(Ending::SessionEnded));
    assert_eq!(connections.0.table.lock().of_user.len(), 0, "and is not counted");
}

#[test]
fn a_token_whose_session_ended_does_not_renew_a_connection() {
    let (connections, ended) = registry(0);
    let registration =
        connections.register(&caller(SessionId::from(Uuid::now_v7())), Origin::unknown()).expect("a registration");
    let other = SessionId::from(Uuid::now_v7());
    let verified = caller(other);
    ended.lock().insert(other);
    connections.end_session(other);
    assert_eq!(registration.renew(verified), Err(Refusal::SessionEnded));
}

#[tokio::test]
async fn no_connection_registers_after_the_stop() {
    let (connections, _) = registry(0);
    let early =
        connections.register(&caller(SessionId::from(Uuid::now_v7())), Origin::unknown()).expect("a registration");
    connections.drain(Duration::ZERO).await;
    assert_eq!(early.handle.ending(), Some(Ending::Stopping));
    let late = connections.register(&caller(SessionId::from(Uuid::now_v7())), Origin::unknown());
    assert_eq!(late.err(), Some(Ending::Stopping));
}

#[test]
fn a_dropped_registration_is_no_longer_counted() {
    let (connections, _) = registry(1);
    let register = || connections.register(&caller(SessionId::from(Uuid::now_v7())), Origin::unknown());
    let first = register().expect("a registration");
    assert_eq!(register().err(), Some(Ending::TooMany));
    drop(first);
    assert!(register().is_ok());
}

#[test]
fn answers_of_models_have_a_limit_of_their_own() {
    let (connections, _) = registry(1);
    let caller = caller(SessionId::from(Uuid::now_v7()));
    let _socket = connections.register(&caller, Origin::unknown()).expect("a registration");
    let answers: Vec<_> =
        (0..GENERATIONS_PER_USER).map(|_| connections.register_generation(&caller, Origin::unknown())).collect();
    assert!(answers.iter().all(Result::is_ok), "a user with as many sockets as allowed can ask");
    assert_eq!(connections.register_generation(&caller, Origin::unknown()).err(), Some(Ending::TooMany));
    drop(answers);
    assert!(connections.register_generation(&caller, Origin::unknown()).is_ok());
}

#[tokio::test]
async fn an_ending_that_was_decided_before_a_connection_is_open_reaches_it() {
    let (connections, _) = registry(0);
    let registration =
        connections.register(&caller(SessionId::from(Uuid::now_v7())), Origin::unknown()).expect("a registration");
    connections.drain(Duration::ZERO).await;
    let wake = Arc::new(Notify::new());
    registration.attach(Target::Stream(wake.clone()));
    assert!(futures_util::poll!(std::pin::pin!(wake.notified())).is_ready());
    assert_eq!(registration.handle.ending(), Some(Ending::Stopping));
}
