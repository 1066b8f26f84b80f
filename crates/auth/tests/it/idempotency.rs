//! Idempotency keys, also for requests with secrets.

use tokio::task::JoinSet;
use tonic::{Code, Status};
use turnpike_proto::auth::v1 as pb;
use turnpike_testkit::Database;

use crate::harness::{Harness, OTHER_PASSWORD, PASSWORD, SignedIn, refused};

turnpike_testkit::on_both!(
    twenty_requests_with_one_key_create_one_account,
    another_account_under_the_same_key_is_refused,
    a_password_is_changed_once,
    a_key_expires_after_a_day,
    a_malformed_key_is_refused,
);

fn ada(key: &str) -> pb::CreateUserRequest {
    pb::CreateUserRequest {
        email: "ada@example.com".to_owned(),
        username: "ada".to_owned(),
        password: PASSWORD.to_owned(),
        role: pb::Role::Operator.into(),
        idempotency_key: key.to_owned(),
        ..Default::default()
    }
}

async fn create(admin: &SignedIn, request: pb::CreateUserRequest) -> Result<pb::CreateUserResponse, Status> {
    Ok(admin.client().create_user(admin.access.request(request)).await?.into_inner())
}

async fn twenty_requests_with_one_key_create_one_account(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    let mut requests = JoinSet::new();
    for _ in 0..20 {
        let (mut client, request) = (admin.client(), admin.access.request(ada("once")));
        requests.spawn(async move { client.create_user(request).await.expect("each has an answer").into_inner() });
    }
    let answers = requests.join_all().await;
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    assert!(answers.iter().all(|answer| answer.user == answers[0].user));

    // The answer stays the first one, also after changes of the account.
    let made = answers[0].user.clone().expect("a user");
    admin.set_role(&made, pb::Role::Engineer).await.expect("promoted");
    admin.set_active(&made, false).await.expect("switched off");
    let again = create(&admin, ada("once")).await.expect("as before");
    assert_eq!((again.user, again.replayed), (Some(made), true));
}

async fn another_account_under_the_same_key_is_refused(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    create(&admin, ada("key")).await.expect("made");
    for other in [
        pb::CreateUserRequest { username: "eve".to_owned(), ..ada("key") },
        pb::CreateUserRequest { password: OTHER_PASSWORD.to_owned(), ..ada("key") },
        pb::CreateUserRequest { role: pb::Role::Admin.into(), ..ada("key") },
    ] {
        refused(create(&admin, other).await, Code::FailedPrecondition, "IDEMPOTENCY_KEY_REUSED");
    }
    // A refused request does not use its key.
    refused(create(&admin, ada("second")).await, Code::FailedPrecondition, "EMAIL_TAKEN");
    let eve =
        pb::CreateUserRequest { email: "eve@example.com".to_owned(), username: "eve".to_owned(), ..ada("second") };
    assert!(!create(&admin, eve).await.expect("made").replayed);
}

async fn a_password_is_changed_once(database: Database) {
    let harness = Harness::new(&database).await;
    harness.create("ada", pb::Role::User).await;
    let (here, there) = (harness.enter("ada").await, harness.enter("ada").await);
    let (a, b) = tokio::join!(
        here.change_password_once(PASSWORD, OTHER_PASSWORD, "once"),
        here.change_password_once(PASSWORD, OTHER_PASSWORD, "once"),
    );
    let replayed = [a.expect("changed"), b.expect("the second request gets the same answer")];
    assert_eq!(replayed.iter().filter(|replayed| **replayed).count(), 1);
    refused(there.me().await, Code::Unauthenticated, "SESSION_ENDED");

    let later = harness.sign_in("ada", OTHER_PASSWORD).await.expect("the new one");
    assert!(here.change_password_once(PASSWORD, OTHER_PASSWORD, "once").await.expect("as before"));
    harness.me(&later.tokens.expect("tokens").access_token).await.expect("the repeated request changed nothing");
    let other = here.change_password_once(PASSWORD, "quietly paddling otters at dusk", "once").await;
    refused(other, Code::FailedPrecondition, "IDEMPOTENCY_KEY_REUSED");
    let guess = here.change_password_once("a guess", OTHER_PASSWORD, "once").await;
    refused(guess, Code::FailedPrecondition, "IDEMPOTENCY_KEY_REUSED");
}

async fn a_key_expires_after_a_day(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    create(&admin, ada("key")).await.expect("made");
    harness.pass(24 * 3600 + 1);
    let admin = harness.admin().await;
    refused(create(&admin, ada("key")).await, Code::FailedPrecondition, "EMAIL_TAKEN");
}

async fn a_malformed_key_is_refused(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    for none in ["x".repeat(256), "two\nlines".to_owned(), "é".to_owned()] {
        refused(create(&admin, ada(&none)).await, Code::InvalidArgument, "VALIDATION");
    }
}
