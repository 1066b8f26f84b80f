//! One-time sign-in codes.

use tokio::task::JoinSet;
use tonic::{Code, Status};
use turnpike_proto::auth::v1::{self as pb, auth_service_client::AuthServiceClient};
use turnpike_testkit::Database;

use crate::{
    foreign::socket,
    harness::{Harness, OTHER_PASSWORD, PASSWORD, Setup, refused},
};

turnpike_testkit::on_both!(
    a_code_begins_one_session,
    of_many_requests_with_one_code_one_is_signed_in,
    a_code_expires_and_is_replaced,
    a_link_has_its_own_code_for_a_quarter_of_an_hour,
    a_code_is_deleted_when_the_sessions_end,
    a_refused_code_looks_like_a_wrong_password,
);

#[track_caller]
fn refused_code(answer: Result<pb::LoginResponse, Status>) {
    refused(answer, Code::Unauthenticated, "INVALID_CREDENTIALS");
}

async fn a_code_begins_one_session(database: Database) {
    let harness = Harness::new(&database).await;
    let code = harness.one_time_code().await;
    assert_eq!(code.len(), 43, "32 random bytes in base64");
    let answer = harness.redeem_code(&code).await.expect("signed in");
    let tokens = answer.tokens.expect("tokens");
    assert_eq!(tokens.refresh_expires_in, 30 * 24 * 3600);
    let me = harness.me(&tokens.access_token).await.expect("signed in");
    assert_eq!((me.username.as_str(), Some(&me)), ("admin", answer.user.as_ref()));
    harness.exchange(&answer.session_token).await.expect("a cookie, too");
    harness.refresh(&tokens.refresh_token).await.expect("a whole session");
    refused_code(harness.redeem_code(&code).await);
}

async fn of_many_requests_with_one_code_one_is_signed_in(database: Database) {
    let harness = Harness::new(&database).await;
    let code = harness.one_time_code().await;
    let mut crowd = JoinSet::new();
    for _ in 0..20 {
        let (mut client, code) = (harness.client(), code.clone());
        crowd.spawn(async move {
            let request = pb::RedeemOneTimeCodeRequest { code, ..Default::default() };
            client.redeem_one_time_code(request).await.is_ok()
        });
    }
    let signed_in = crowd.join_all().await.into_iter().filter(|ok| *ok).count();
    assert_eq!(signed_in, 1);
}

async fn a_code_expires_and_is_replaced(database: Database) {
    let mut harness = Harness::new(&database).await;
    let first = harness.one_time_code().await;
    harness.restart().await;
    let second = harness.one_time_code().await;
    assert_ne!(first, second);
    refused_code(harness.redeem_code(&first).await);
    harness.pass(24 * 3600 - 1);
    harness.redeem_code(&second).await.expect("in time");
    let third = harness.one_time_code().await;
    harness.pass(24 * 3600);
    refused_code(harness.redeem_code(&third).await);
}

async fn a_link_has_its_own_code_for_a_quarter_of_an_hour(database: Database) {
    let mut harness = Harness::new(&database).await;
    let (code, link) = (harness.one_time_code().await, harness.one_time_link_code().await);
    assert_ne!(code, link);
    harness.redeem_code(&link).await.expect("signed in");
    refused_code(harness.redeem_code(&link).await);
    harness.redeem_code(&code).await.expect("the other code is still good");
    let late = harness.one_time_link_code().await;
    harness.pass(15 * 60);
    refused_code(harness.redeem_code(&late).await);
    let replaced = harness.one_time_link_code().await;
    harness.restart().await;
    harness.one_time_code().await;
    refused_code(harness.redeem_code(&replaced).await);
}

/// A code begins no session of an account whose sessions were ended after the code was issued.
async fn a_code_is_deleted_when_the_sessions_end(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    harness.create("root", pb::Role::Admin).await;
    let root = harness.enter("root").await;

    let code = harness.one_time_code().await;
    admin.change_password(PASSWORD, OTHER_PASSWORD).await.expect("changed");
    refused_code(harness.redeem_code(&code).await);

    let code = harness.one_time_code().await;
    root.set_active(&admin.user, false).await.expect("switched off");
    refused_code(harness.redeem_code(&code).await);
    assert!(harness.service.one_time_code().await.expect("a database").is_none(), "no other account takes its place");

    root.set_active(&admin.user, true).await.expect("switched on");
    root.set_role(&admin.user, pb::Role::User).await.expect("demoted");
    assert!(harness.service.one_time_code().await.expect("a database").is_none(), "the account is no longer an admin");
}

async fn a_refused_code_looks_like_a_wrong_password(database: Database) {
    let harness = Harness::new(&database).await;
    let code = harness.one_time_code().await;
    harness.redeem_code(&code).await.expect("signed in");
    let visible_parts = |status: Status| (status.code(), status.message().to_owned(), status.details().to_vec());
    let wrong = visible_parts(harness.sign_in("admin", "wrong").await.expect_err("refused"));
    for bad in [code.as_str(), "", "nonsense", "a\0b", "' OR 1=1 --", &"x".repeat(100_000)] {
        assert_eq!(visible_parts(harness.redeem_code(bad).await.expect_err("refused")), wrong, "{bad:.20}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_count_against_the_limit_of_sign_ins() {
    let database = Database::sqlite();
    let harness =
        Setup::default().with("TURNPIKE_LIMIT_LOGINS_PER_MINUTE", "5").start(&database).await.expect("a service");
    let code = harness.one_time_code().await;
    for _ in 0..5 {
        refused_code(harness.redeem_code("nonsense").await);
    }
    refused(harness.redeem_code(&code).await, Code::ResourceExhausted, "RATE_LIMITED");
    harness.pass(60);
    harness.redeem_code(&code).await.expect("a rate limit does not use the code");
}

/// Every client of the gRPC port can claim any address, so a code is redeemed only by the gateway of the same process.
#[tokio::test(flavor = "multi_thread")]
async fn no_code_is_accepted_over_a_socket() {
    let database = Database::sqlite();
    let harness = Harness::new(&database).await;
    let code = harness.one_time_code().await;
    let mut client = AuthServiceClient::new(socket(&harness).await);
    let request = pb::RedeemOneTimeCodeRequest {
        code: code.clone(),
        client_ip: "127.0.0.1".to_owned(),
        user_agent: String::new(),
    };
    let answer = client.redeem_one_time_code(request).await;
    refused(answer, Code::Unauthenticated, "INVALID_CREDENTIALS");
    harness.redeem_code(&code).await.expect("the code was not used");
}
