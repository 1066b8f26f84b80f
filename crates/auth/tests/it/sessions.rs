//! Cookies, tickets, the list of sessions, and ending them.

use tokio::task::JoinSet;
use tonic::Code;
use turnpike_event::EndReason;
use turnpike_fault::{Fault, Kind};
use turnpike_proto::auth::v1 as pb;
use turnpike_testkit::Database;

use crate::harness::{Harness, OTHER_PASSWORD, PASSWORD, refused};

turnpike_testkit::on_both!(
    a_cookie_is_valid_for_a_day,
    logging_out_works_with_every_credential,
    logging_out_always_succeeds,
    a_ticket_works_once_and_for_thirty_seconds,
    of_twenty_requests_with_one_ticket_one_succeeds,
    users_see_and_end_only_their_own_sessions,
    a_changed_password_ends_the_other_sessions,
    a_password_is_not_changed_to_a_weak_one_or_by_guessing,
    the_hundred_and_first_session_ends_the_oldest,
);

async fn a_cookie_is_valid_for_a_day(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    harness.pass(24 * 3600 - 1);
    let access = harness.exchange(&admin.cookie).await.expect("still good");
    assert_eq!(harness.me(&access).await.expect("signed in"), admin.user);
    harness.pass(1);
    refused(harness.exchange(&admin.cookie).await, Code::Unauthenticated, "SESSION_ENDED");
    for other in ["", "x", &admin.refresh, admin.access.expose()] {
        refused(harness.exchange(other).await, Code::Unauthenticated, "SESSION_ENDED");
    }
    harness.refresh(&admin.refresh).await.expect("the refresh token is valid for longer");
}

async fn logging_out_works_with_every_credential(database: Database) {
    let harness = Harness::new(&database).await;
    let mut listener = harness.listen().await;
    for by in ["token", "cookie", "refresh", "an old refresh"] {
        let admin = harness.admin().await;
        let session = admin.session_id().await;
        let (mut request, mut client) = (pb::LogoutRequest::default(), harness.client());
        match by {
            "cookie" => request.session_token = admin.cookie.clone(),
            "refresh" => request.refresh_token = admin.refresh.clone(),
            "an old refresh" => {
                harness.refresh(&admin.refresh).await.expect("a successor");
                request.refresh_token = admin.refresh.clone();
            }
            _ => {}
        }
        let request = if by == "token" { admin.access.request(request) } else { tonic::Request::new(request) };
        client.logout(request).await.expect(by);
        assert_eq!(listener.end_of(session).await, EndReason::Logout, "{by}");
        refused(admin.me().await, Code::Unauthenticated, "SESSION_ENDED");
        refused(harness.exchange(&admin.cookie).await, Code::Unauthenticated, "SESSION_ENDED");
        refused(harness.refresh(&admin.refresh).await, Code::Unauthenticated, "SESSION_ENDED");
    }
}

async fn logging_out_always_succeeds(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    admin.log_out().await;
    admin.log_out().await; // a second time
    let nonsense = pb::LogoutRequest { refresh_token: "x".repeat(9000), session_token: "y\0".to_owned() };
    harness.client().logout(nonsense).await.expect("with nonsense");
    harness.client().logout(pb::LogoutRequest::default()).await.expect("with nothing");
    harness.pass(901);
    admin.log_out().await; // with an expired token
}

async fn a_ticket_works_once_and_for_thirty_seconds(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    let ticket = admin.ticket().await.expect("a ticket");
    harness.pass(29);
    let access = harness.redeem(&ticket).await.expect("in time");
    assert_eq!(harness.me(&access).await.expect("signed in"), admin.user);
    refused(harness.redeem(&ticket).await, Code::Unauthenticated, "SESSION_ENDED");

    let late = admin.ticket().await.expect("a ticket");
    harness.pass(30);
    refused(harness.redeem(&late).await, Code::Unauthenticated, "SESSION_ENDED");

    let orphan = admin.ticket().await.expect("a ticket");
    admin.log_out().await;
    refused(harness.redeem(&orphan).await, Code::Unauthenticated, "SESSION_ENDED");
    refused(harness.redeem("no ticket").await, Code::Unauthenticated, "SESSION_ENDED");
}

async fn of_twenty_requests_with_one_ticket_one_succeeds(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    for _ in 0..5 {
        let ticket = admin.ticket().await.expect("a ticket");
        let mut crowd = JoinSet::new();
        for _ in 0..20 {
            let (mut client, ticket) = (harness.client(), ticket.clone());
            crowd.spawn(async move { client.redeem_ticket(pb::RedeemTicketRequest { ticket }).await });
        }
        let (won, lost): (Vec<_>, Vec<_>) = crowd.join_all().await.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        for answer in lost {
            refused(answer, Code::Unauthenticated, "SESSION_ENDED");
        }
    }
}

async fn users_see_and_end_only_their_own_sessions(database: Database) {
    let harness = Harness::new(&database).await;
    harness.create("ada", pb::Role::User).await;
    let (admin, here) = (harness.admin().await, harness.enter("ada").await);
    harness.pass(1);
    let there = harness.enter("ada").await;
    let listed = here.sessions().await.expect("the sessions");
    let current: Vec<_> = listed.iter().map(|session| session.current).collect();
    assert_eq!(current, [false, true], "newest first");
    assert!(listed.iter().all(|session| session.ip == "192.0.2.7" && session.user_agent == "a test"));

    // a session of another user is reported as not found
    let foreign = admin.session_id().await.to_string();
    for id in [foreign.as_str(), "no id", "00000000-0000-7000-8000-000000000000"] {
        refused(here.end_session(id).await, Code::NotFound, "NOT_FOUND");
    }
    admin.me().await.expect("still there");

    let mut listener = harness.listen().await;
    let other = there.session_id().await;
    here.end_session(&other.to_string()).await.expect("hers");
    assert_eq!(listener.end_of(other).await, EndReason::Revoked);
    refused(there.me().await, Code::Unauthenticated, "SESSION_ENDED");
    refused(here.end_session(&other.to_string()).await, Code::NotFound, "NOT_FOUND");
    assert_eq!(here.sessions().await.expect("the sessions").len(), 1);

    // an admin sees the sessions of other users, and can end them
    let request = pb::ListUserSessionsRequest { user_id: here.user.id.clone() };
    let seen = admin.client().list_user_sessions(admin.access.request(request)).await.expect("a list").into_inner();
    assert_eq!(seen.sessions.len(), 1);
    let request = pb::EndUserSessionsRequest { user_id: here.user.id.clone() };
    let last = here.session_id().await;
    admin.client().end_user_sessions(admin.access.request(request)).await.expect("ended");
    assert_eq!(listener.end_of(last).await, EndReason::Revoked);
    refused(here.me().await, Code::Unauthenticated, "SESSION_ENDED");
}

async fn a_changed_password_ends_the_other_sessions(database: Database) {
    let harness = Harness::new(&database).await;
    harness.create("ada", pb::Role::User).await;
    let (here, there) = (harness.enter("ada").await, harness.enter("ada").await);
    let (other, mut listener) = (there.session_id().await, harness.listen().await);
    here.change_password(PASSWORD, OTHER_PASSWORD).await.expect("changed");
    assert_eq!(listener.end_of(other).await, EndReason::PasswordChanged);
    here.me().await.expect("the session of the call continues");
    harness.refresh(&here.refresh).await.expect("and goes on");
    refused(there.me().await, Code::Unauthenticated, "SESSION_ENDED");
    refused(harness.sign_in("ada", PASSWORD).await, Code::Unauthenticated, "INVALID_CREDENTIALS");
    harness.sign_in("ada", OTHER_PASSWORD).await.expect("the new one");
}

async fn a_password_is_not_changed_to_a_weak_one_or_by_guessing(database: Database) {
    let harness = Harness::new(&database).await;
    let ada = {
        harness.create("ada", pb::Role::User).await;
        harness.enter("ada").await
    };
    let status = ada.change_password("a guess", OTHER_PASSWORD).await.expect_err("a guess");
    let fault = Fault::from(&status);
    assert_eq!((fault.kind(), fault.code()), (Kind::Invalid, "INVALID_PASSWORD"));
    for weak in ["short", "passwordpassword", "ada@example.com", &"long enough to be refused ".repeat(20)] {
        let fault = Fault::from(&ada.change_password(PASSWORD, weak).await.expect_err(weak));
        assert_eq!((fault.kind(), fault.code()), (Kind::Validation, "VALIDATION"), "{weak}");
        assert_eq!(fault.fields()[0].field, "new_password", "{weak}");
    }
    harness.enter("ada").await; // with the old password
}

async fn the_hundred_and_first_session_ends_the_oldest(database: Database) {
    let harness = Harness::new(&database).await;
    let first = harness.admin().await;
    let second = harness.admin().await;
    for _ in 0..98 {
        harness.pass(1);
        harness.admin().await;
    }
    first.me().await.expect("a hundred are allowed");
    harness.pass(61);
    first.me().await.expect("seen just now");
    harness.admin().await;
    first.me().await.expect("a session that is used stays");
    refused(second.me().await, Code::Unauthenticated, "SESSION_ENDED");
}
