//! Rotation of refresh tokens, and copied tokens.

use std::collections::BTreeSet;

use tokio::task::JoinSet;
use tonic::Code;
use turnpike_event::EndReason;
use turnpike_proto::auth::v1 as pb;
use turnpike_testkit::Database;

use crate::harness::{Harness, refused};

turnpike_testkit::on_both!(
    each_use_gives_a_successor,
    fifty_parallel_refreshes_get_the_same_successor,
    a_refresh_can_be_repeated_for_thirty_seconds,
    a_replay_ends_the_session,
    an_older_replay_ends_the_session_also_within_the_grace,
    an_unused_refresh_token_expires_after_thirty_days,
    a_forged_refresh_token_is_refused,
);

async fn each_use_gives_a_successor(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    let session = admin.session_id().await;
    let (mut token, mut seen) = (admin.refresh.clone(), BTreeSet::from([admin.refresh.clone()]));
    for _ in 0..10 {
        harness.pass(3600);
        let pair = harness.refresh(&token).await.expect("a successor");
        assert!(seen.insert(pair.refresh_token.clone()), "each successor is new");
        assert_eq!(pair.expires_in, 900);
        assert_eq!(harness.me(&pair.access_token).await.expect("signed in"), admin.user);
        token = pair.refresh_token;
    }
    let again = harness.enter("admin").await;
    let ids: Vec<_> = again.sessions().await.expect("the sessions").into_iter().map(|session| session.id).collect();
    assert!(ids.contains(&session.to_string()), "the session stays the same");
}

async fn fifty_parallel_refreshes_get_the_same_successor(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    let mut crowd = JoinSet::new();
    for _ in 0..50 {
        let (mut client, refresh_token) = (harness.client(), admin.refresh.clone());
        crowd.spawn(async move { client.refresh(pb::RefreshRequest { refresh_token }).await });
    }
    let mut successors = BTreeSet::new();
    for answer in crowd.join_all().await {
        let pair = answer.expect("each request gets a successor").into_inner();
        harness.me(&pair.access_token).await.expect("each access token is valid");
        successors.insert(pair.refresh_token);
    }
    assert_eq!(successors.len(), 1, "one rotation");
    let successor = successors.first().expect("one");
    harness.refresh(successor).await.expect("the session continues");
}

async fn a_refresh_can_be_repeated_for_thirty_seconds(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    let lost = harness.refresh(&admin.refresh).await.expect("a successor").refresh_token;
    harness.pass(30);
    let again = harness.refresh(&admin.refresh).await.expect("within 30 seconds").refresh_token;
    assert_eq!(again, lost, "the same one");
    admin.me().await.expect("the session has not ended");
    harness.refresh(&again).await.expect("the session continues");
}

async fn a_replay_ends_the_session(database: Database) {
    let harness = Harness::new(&database).await;
    let (admin, bystander) = (harness.admin().await, harness.admin().await);
    let (session, mut listener) = (admin.session_id().await, harness.listen().await);
    let successor = harness.refresh(&admin.refresh).await.expect("a successor");
    harness.pass(31);
    refused(harness.refresh(&admin.refresh).await, Code::Unauthenticated, "SESSION_ENDED");
    assert_eq!(listener.end_of(session).await, EndReason::ReuseDetected);
    let revocations = harness.revocations().await;
    assert!(revocations.iter().any(|one| one.session_id == session.to_string()), "ListRevocations has it");
    for access in [admin.access.expose(), &successor.access_token] {
        refused(harness.me(access).await, Code::Unauthenticated, "SESSION_ENDED");
    }
    refused(harness.refresh(&successor.refresh_token).await, Code::Unauthenticated, "SESSION_ENDED");
    refused(harness.exchange(&admin.cookie).await, Code::Unauthenticated, "SESSION_ENDED");
    bystander.me().await.expect("other sessions are not affected");
}

async fn an_older_replay_ends_the_session_also_within_the_grace(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    let (session, mut listener) = (admin.session_id().await, harness.listen().await);
    let second = harness.refresh(&admin.refresh).await.expect("a successor");
    harness.refresh(&second.refresh_token).await.expect("its successor");
    refused(harness.refresh(&admin.refresh).await, Code::Unauthenticated, "SESSION_ENDED");
    assert_eq!(listener.end_of(session).await, EndReason::ReuseDetected);
    refused(admin.me().await, Code::Unauthenticated, "SESSION_ENDED");
}

async fn an_unused_refresh_token_expires_after_thirty_days(database: Database) {
    const DAY: u64 = 24 * 3600;
    let harness = Harness::new(&database).await;
    let (used, unused) = (harness.admin().await, harness.admin().await);
    harness.pass(29 * DAY);
    let kept = harness.refresh(&used.refresh).await.expect("in time");
    harness.pass(DAY);
    refused(harness.refresh(&unused.refresh).await, Code::Unauthenticated, "SESSION_ENDED");
    harness.pass(28 * DAY);
    harness.refresh(&kept.refresh_token).await.expect("each use extends its lifetime");
}

async fn a_forged_refresh_token_is_refused(database: Database) {
    let other = Harness::new(&Database::sqlite()).await;
    let harness = Harness::new(&database).await;
    let foreign = other.admin().await;
    let admin = harness.admin().await;
    let mut bent = admin.refresh.clone().into_bytes();
    bent[30] = if bent[30] == b'A' { b'B' } else { b'A' };
    let bent = String::from_utf8(bent).expect("ASCII");
    for token in [&foreign.refresh, &bent, &admin.cookie, admin.access.expose(), "", "x"] {
        refused(harness.refresh(token).await, Code::Unauthenticated, "SESSION_ENDED");
    }
    harness.refresh(&admin.refresh).await.expect("the session is not affected");
}
