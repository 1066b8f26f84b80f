//! Staying in: the refresh token's rotation, and what becomes of a copy.

use std::collections::BTreeSet;

use tokio::task::JoinSet;
use tonic::Code;
use turnpike_event::EndReason;
use turnpike_proto::auth::v1 as pb;
use turnpike_testkit::Database;

use crate::house::{House, refused};

turnpike_testkit::on_both!(
    each_use_gives_a_successor,
    of_fifty_at_once_all_get_the_same_successor,
    a_lost_answer_can_be_asked_for_again_for_thirty_seconds,
    a_replay_ends_the_session,
    an_older_replay_ends_the_session_also_within_the_grace,
    an_unused_one_ends_after_thirty_days,
    what_was_not_issued_here_is_refused,
);

async fn each_use_gives_a_successor(database: Database) {
    let house = House::new(&database).await;
    let admin = house.admin().await;
    let session = admin.session_id().await;
    let (mut token, mut seen) = (admin.refresh.clone(), BTreeSet::from([admin.refresh.clone()]));
    for _ in 0..10 {
        house.pass(3600);
        let pair = house.refresh(&token).await.expect("a successor");
        assert!(seen.insert(pair.refresh_token.clone()), "each is another");
        assert_eq!(pair.expires_in, 900);
        assert_eq!(house.me(&pair.access_token).await.expect("signed in"), admin.user);
        token = pair.refresh_token;
    }
    let again = house.enter("admin").await;
    let ids: Vec<_> = again.sessions().await.expect("the sessions").into_iter().map(|session| session.id).collect();
    assert!(ids.contains(&session.to_string()), "it is the same session all along");
}

async fn of_fifty_at_once_all_get_the_same_successor(database: Database) {
    let house = House::new(&database).await;
    let admin = house.admin().await;
    let mut crowd = JoinSet::new();
    for _ in 0..50 {
        let (mut client, refresh_token) = (house.client(), admin.refresh.clone());
        crowd.spawn(async move { client.refresh(pb::RefreshRequest { refresh_token }).await });
    }
    let mut successors = BTreeSet::new();
    for answer in crowd.join_all().await {
        let pair = answer.expect("everybody gets one").into_inner();
        house.me(&pair.access_token).await.expect("and everybody is in");
        successors.insert(pair.refresh_token);
    }
    assert_eq!(successors.len(), 1, "one rotation");
    let successor = successors.first().expect("one");
    house.refresh(successor).await.expect("and the session goes on");
}

async fn a_lost_answer_can_be_asked_for_again_for_thirty_seconds(database: Database) {
    let house = House::new(&database).await;
    let admin = house.admin().await;
    let lost = house.refresh(&admin.refresh).await.expect("a successor").refresh_token;
    house.pass(30);
    let again = house.refresh(&admin.refresh).await.expect("within the grace").refresh_token;
    assert_eq!(again, lost, "the same one");
    admin.me().await.expect("nobody is logged out");
    house.refresh(&again).await.expect("the session goes on");
}

async fn a_replay_ends_the_session(database: Database) {
    let house = House::new(&database).await;
    let (admin, bystander) = (house.admin().await, house.admin().await);
    let (session, mut ear) = (admin.session_id().await, house.listen().await);
    let successor = house.refresh(&admin.refresh).await.expect("a successor");
    house.pass(31);
    refused(house.refresh(&admin.refresh).await, Code::Unauthenticated, "SESSION_ENDED");
    assert_eq!(ear.hear_end(session).await, EndReason::ReuseDetected);
    let told = house.revocations().await;
    assert!(told.iter().any(|one| one.session_id == session.to_string()), "and whoever asks is told");
    for access in [admin.access.expose(), &successor.access_token] {
        refused(house.me(access).await, Code::Unauthenticated, "SESSION_ENDED");
    }
    refused(house.refresh(&successor.refresh_token).await, Code::Unauthenticated, "SESSION_ENDED");
    refused(house.exchange(&admin.cookie).await, Code::Unauthenticated, "SESSION_ENDED");
    bystander.me().await.expect("no other session suffers");
}

async fn an_older_replay_ends_the_session_also_within_the_grace(database: Database) {
    let house = House::new(&database).await;
    let admin = house.admin().await;
    let (session, mut ear) = (admin.session_id().await, house.listen().await);
    let second = house.refresh(&admin.refresh).await.expect("a successor");
    house.refresh(&second.refresh_token).await.expect("its successor");
    refused(house.refresh(&admin.refresh).await, Code::Unauthenticated, "SESSION_ENDED");
    assert_eq!(ear.hear_end(session).await, EndReason::ReuseDetected);
    refused(admin.me().await, Code::Unauthenticated, "SESSION_ENDED");
}

async fn an_unused_one_ends_after_thirty_days(database: Database) {
    const DAY: u64 = 24 * 3600;
    let house = House::new(&database).await;
    let (used, unused) = (house.admin().await, house.admin().await);
    house.pass(29 * DAY);
    let kept = house.refresh(&used.refresh).await.expect("in time");
    house.pass(DAY);
    refused(house.refresh(&unused.refresh).await, Code::Unauthenticated, "SESSION_ENDED");
    house.pass(28 * DAY);
    house.refresh(&kept.refresh_token).await.expect("each use starts its time anew");
}

async fn what_was_not_issued_here_is_refused(database: Database) {
    let other = House::new(&Database::sqlite()).await;
    let house = House::new(&database).await;
    let foreign = other.admin().await;
    let admin = house.admin().await;
    let mut bent = admin.refresh.clone().into_bytes();
    bent[30] = if bent[30] == b'A' { b'B' } else { b'A' };
    let bent = String::from_utf8(bent).expect("ASCII");
    for token in [&foreign.refresh, &bent, &admin.cookie, admin.access.expose(), "", "x"] {
        refused(house.refresh(token).await, Code::Unauthenticated, "SESSION_ENDED");
    }
    house.refresh(&admin.refresh).await.expect("none of which has touched the session");
}
