//! The registry as a model: what happens between the check of a session and the registration of its socket.

use std::collections::HashSet;

use turnpike_identity::AccessToken;
use turnpike_token::Role;
use uuid::Uuid;

use super::*;

type Ended = Arc<Mutex<HashSet<SessionId>>>;

/// Sockets, and the sessions that have ended.
fn sockets(most: u32) -> (Sockets, Ended) {
    let ended = Ended::default();
    let known = ended.clone();
    let check = move |claims: &Claims| match known.lock().expect("no panic").contains(&claims.session_id) {
        true => Err(Refusal::SessionEnded),
        false => Ok(()),
    };
    (Sockets::new(most, check), ended)
}

fn caller(session: SessionId) -> Caller {
    let claims = Claims {
        user_id: UserId::from(Uuid::nil()),
        session_id: session,
        token_id: Uuid::nil(),
        role: Role::User,
        issued_at: Timestamp::UNIX_EPOCH,
        expires_at: Timestamp::MAX,
        auth_time: Timestamp::UNIX_EPOCH,
    };
    Caller { claims, token: AccessToken::new("token") }
}

#[test]
fn a_session_that_ends_between_its_check_and_its_registration_is_refused() {
    let (sockets, ended) = sockets(0);
    let session = SessionId::from(Uuid::now_v7());
    let verified = caller(session);
    // What the watcher does when the news arrives, in its order; the socket is not in the table yet.
    ended.lock().expect("no panic").insert(session);
    sockets.end_session(session);
    assert_eq!(sockets.enter(&verified).err(), Some(Ending::SessionEnded));
    assert_eq!(sockets.0.table.lock().expect("no panic").of_user.len(), 0, "and takes no place");
}

#[test]
fn a_token_whose_session_ended_does_not_renew_a_socket() {
    let (sockets, ended) = sockets(0);
    let place = sockets.enter(&caller(SessionId::from(Uuid::now_v7()))).expect("a place");
    let other = SessionId::from(Uuid::now_v7());
    let verified = caller(other);
    ended.lock().expect("no panic").insert(other);
    sockets.end_session(other);
    assert_eq!(place.renew(verified), Err(Refusal::SessionEnded));
}

#[test]
fn nobody_registers_behind_the_end_of_all() {
    let (sockets, _) = sockets(0);
    let early = sockets.enter(&caller(SessionId::from(Uuid::now_v7()))).expect("a place");
    sockets.stop();
    assert_eq!(early.handle.ending(), Some(Ending::Stopping));
    let late = sockets.enter(&caller(SessionId::from(Uuid::now_v7())));
    assert_eq!(late.err(), Some(Ending::Stopping));
}

#[test]
fn a_place_is_given_back() {
    let (sockets, _) = sockets(1);
    let enter = || sockets.enter(&caller(SessionId::from(Uuid::now_v7())));
    let first = enter().expect("a place");
    assert_eq!(enter().err(), Some(Ending::TooMany));
    drop(first);
    assert!(enter().is_ok());
}

#[tokio::test]
async fn a_wake_for_another_reason_is_not_lost_while_somebody_waits_for_the_end() {
    let (sockets, _) = sockets(0);
    let place = sockets.enter(&caller(SessionId::from(Uuid::now_v7()))).expect("a place");
    place.handle.wake.notify_one();
    {
        let mut ended = std::pin::pin!(place.handle.ended());
        assert!(futures_util::poll!(&mut ended).is_pending(), "the wake is taken");
    }
    let woken = std::pin::pin!(place.handle.wake.notified());
    assert!(futures_util::poll!(woken).is_ready(), "and passed on");
    sockets.stop();
    assert_eq!(place.handle.ended().await, Ending::Stopping);
}
