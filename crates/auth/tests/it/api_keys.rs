//! API keys: creating, listing, exchanging and revoking.

use tokio::task::JoinSet;
use tonic::{Code, Request, Status};
use turnpike_event::EndReason;
use turnpike_fault::Fault;
use turnpike_identity::AccessToken;
use turnpike_proto::auth::v1 as pb;
use turnpike_testkit::Database;
use turnpike_token::{ApiKey, Claims, KeySet, Scope, Scopes};
use turnpike_topic::SessionId;

use crate::harness::{Harness, OTHER_PASSWORD, PASSWORD, refused};

turnpike_testkit::on_both!(
    a_key_is_shown_once_and_exchanged_for_tokens_of_its_owner,
    a_request_that_is_not_valid_names_its_fields,
    a_repeated_request_gets_the_same_key,
    a_user_has_fifty_keys,
    a_revoked_key_ends_with_its_tokens,
    a_key_expires_with_its_tokens,
    a_key_of_an_inactive_account_is_refused,
    a_changed_role_reaches_the_next_token,
    keys_outlive_passwords_and_sign_ins,
    a_key_manages_no_credentials_and_no_accounts,
    the_last_use_is_written_once_a_minute,
    parallel_first_uses_share_one_session,
    users_revoke_only_their_own_keys_and_admins_those_of_others,
    a_ticket_permits_what_its_key_permits,
);

const ACCESS_TOKEN_SECONDS: u64 = 900;

fn new(name: &str) -> pb::CreateApiKeyRequest {
    pb::CreateApiKeyRequest { name: name.to_owned(), ..Default::default() }
}

/// The claims of a token, and its seconds to live.
async fn exchange(harness: &Harness, key: &str) -> Result<(Claims, AccessToken, u32), Status> {
    let key_sha256 = ApiKey::parse(key).expect("a well-formed key").digest().to_vec();
    let answer = harness.api_keys().exchange_api_key(pb::ExchangeApiKeyRequest { key_sha256 }).await?.into_inner();
    let claims = verified(harness, &answer.access_token).await;
    Ok((claims, AccessToken::new(answer.access_token), answer.expires_in))
}

async fn verified(harness: &Harness, token: &str) -> Claims {
    let jwks = harness.client().get_jwks(pb::GetJwksRequest {}).await.expect("keys").into_inner().jwks_json;
    KeySet::from_jwks(&jwks).expect("keys").verify(token, harness.clock.now()).expect("a valid token")
}

async fn session(harness: &Harness, key: &str) -> SessionId {
    exchange(harness, key).await.expect("a token").0.session_id
}

async fn a_key_is_shown_once_and_exchanged_for_tokens_of_its_owner(database: Database) {
    let harness = Harness::new(&database).await;
    harness.create("ada", pb::Role::Operator).await;
    let ada = harness.enter("ada").await;
    let request = pb::CreateApiKeyRequest {
        name: " ci of the fleet ".to_owned(),
        expires_in_days: Some(30),
        scopes: vec!["vehicles".to_owned(), "read".to_owned()],
        requests_per_minute: Some(120),
        tokens_per_day: Some(50_000),
        ..Default::default()
    };
    let created = ada.create_api_key(request).await.expect("a key");
    let (shown, key) = (created.api_key.expect("a description"), created.key);
    assert_eq!((shown.name.as_str(), shown.prefix.as_str()), ("ci of the fleet", &key[..9]));
    assert_eq!(shown.scopes, ["read", "vehicles"]);
    assert_eq!(ada.api_keys().await.expect("a list"), std::slice::from_ref(&shown), "the list has all but the key");

    let (claims, access, expires_in) = exchange(&harness, &key).await.expect("a token");
    assert_eq!((claims.user_id.to_string(), u64::from(expires_in)), (ada.user.id.clone(), ACCESS_TOKEN_SECONDS));
    let limits = claims.api_key.expect("a token of an API key");
    assert_eq!(limits.id.to_string(), shown.id);
    assert_eq!(limits.scopes, [Scope::Read, Scope::Vehicles].into_iter().collect::<Scopes>());
    assert_eq!((limits.requests_per_minute.map(u32::from), limits.tokens_per_day), (Some(120), Some(50_000)));
    assert_eq!(harness.me(access.expose()).await.expect("signed in"), ada.user);
    assert_eq!(session(&harness, &key).await, claims.session_id, "one session a key");
    assert_eq!(ada.sessions().await.expect("a list").len(), 1, "which is no sign-in");

    harness.pass(1);
    let plain = ada.create_api_key(new("plain")).await.expect("a key");
    assert_eq!(plain.api_key.expect("a description").scopes, ["all"]);
    assert_ne!(session(&harness, &plain.key).await, claims.session_id);
    let newest: Vec<_> = ada.api_keys().await.expect("a list").into_iter().map(|key| key.name).collect();
    assert_eq!(newest, ["plain", "ci of the fleet"]);

    let unknown = ApiKey::new([9; 32]);
    refused(exchange(&harness, unknown.expose()).await, Code::Unauthenticated, "INVALID_API_KEY");
    for digest in [Vec::new(), key.into_bytes()] {
        let request = pb::ExchangeApiKeyRequest { key_sha256: digest };
        refused(harness.api_keys().exchange_api_key(request).await, Code::Unauthenticated, "INVALID_API_KEY");
    }
}

async fn a_request_that_is_not_valid_names_its_fields(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    let scopes = vec!["chat".to_owned(), "teleport".to_owned()];
    for (field, request) in [
        ("name", new(" ")),
        ("name", new(&"x".repeat(101))),
        ("name", new("two\nlines")),
        ("expires_in_days", pb::CreateApiKeyRequest { expires_in_days: Some(0), ..new("x") }),
        ("expires_in_days", pb::CreateApiKeyRequest { expires_in_days: Some(3651), ..new("x") }),
        ("scopes", pb::CreateApiKeyRequest { scopes, ..new("x") }),
        ("requests_per_minute", pb::CreateApiKeyRequest { requests_per_minute: Some(0), ..new("x") }),
        ("tokens_per_day", pb::CreateApiKeyRequest { tokens_per_day: Some(u64::MAX), ..new("x") }),
    ] {
        let status = admin.create_api_key(request).await.expect_err(field);
        let fault = Fault::from(&status);
        assert_eq!((fault.code(), fault.fields()[0].field.as_str()), ("VALIDATION", field));
    }
    assert_eq!(admin.api_keys().await.expect("a list"), []);
}

async fn a_repeated_request_gets_the_same_key(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    let once =
        |name| pb::CreateApiKeyRequest { idempotency_key: "k".to_owned(), expires_in_days: Some(1), ..new(name) };
    let first = admin.create_api_key(once("ci")).await.expect("a key");
    harness.pass(5);
    let second = admin.create_api_key(once("ci")).await.expect("the same key");
    assert!(!first.replayed && second.replayed);
    assert_eq!((&first.key, &first.api_key), (&second.key, &second.api_key));
    exchange(&harness, &second.key).await.expect("a token");
    refused(admin.create_api_key(once("other")).await, Code::FailedPrecondition, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(admin.api_keys().await.expect("a list").len(), 1);
    let other = admin.create_api_key(new("ci")).await.expect("a key");
    assert_ne!(other.key, first.key);
}

async fn a_user_has_fifty_keys(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    let mut crowd = JoinSet::new();
    for n in 0..60 {
        let (mut client, request) = (harness.api_keys(), admin.access.request(new(&format!("key {n}"))));
        crowd.spawn(async move { client.create_api_key(request).await });
    }
    let (made, over): (Vec<_>, Vec<_>) = crowd.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!(made.len(), 50);
    for answer in over {
        refused(answer, Code::FailedPrecondition, "TOO_MANY_API_KEYS");
    }
    let listed = admin.api_keys().await.expect("a list");
    assert_eq!(listed.len(), 50);
    admin.revoke_api_key(&listed[0].id).await.expect("revoked");
    admin.create_api_key(new("another")).await.expect("there is room again");
}

async fn a_revoked_key_ends_with_its_tokens(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    let created = admin.create_api_key(new("ci")).await.expect("a key");
    let id = created.api_key.expect("a description").id;
    let (claims, access, _) = exchange(&harness, &created.key).await.expect("a token");
    let mut listener = harness.listen().await;
    admin.revoke_api_key(&id).await.expect("revoked");
    assert_eq!(listener.end_of(claims.session_id).await, EndReason::Revoked);
    assert!(harness.revocations().await.iter().any(|listed| listed.session_id == claims.session_id.to_string()));
    refused(harness.me(access.expose()).await, Code::Unauthenticated, "SESSION_ENDED");
    refused(exchange(&harness, &created.key).await, Code::Unauthenticated, "INVALID_API_KEY");
    refused(admin.revoke_api_key(&id).await, Code::NotFound, "NOT_FOUND");
    admin.me().await.expect("the sign-in continues");
}

async fn a_key_expires_with_its_tokens(database: Database) {
    let harness = Harness::new(&database).await;
    let request = pb::CreateApiKeyRequest { expires_in_days: Some(1), ..new("for a day") };
    let key = harness.admin().await.create_api_key(request).await.expect("a key").key;
    harness.pass(24 * 3600 - 60);
    let (claims, access, expires_in) = exchange(&harness, &key).await.expect("a token");
    assert_eq!(expires_in, 60, "no token outlives its key");
    harness.pass(59);
    assert_eq!(session(&harness, &key).await, claims.session_id, "the key is still good");
    harness.pass(1);
    refused(exchange(&harness, &key).await, Code::Unauthenticated, "API_KEY_EXPIRED");
    refused(harness.me(access.expose()).await, Code::Unauthenticated, "TOKEN_EXPIRED");
    let listed = harness.admin().await.api_keys().await.expect("a list");
    assert_eq!(listed.len(), 1, "its owner sees that it has expired");
}

async fn a_key_of_an_inactive_account_is_refused(database: Database) {
    let harness = Harness::new(&database).await;
    let user = harness.create("ada", pb::Role::User).await;
    let key = harness.enter("ada").await.create_api_key(new("ci")).await.expect("a key").key;
    let (claims, access, _) = exchange(&harness, &key).await.expect("a token");
    let (admin, mut listener) = (harness.admin().await, harness.listen().await);
    admin.set_active(&user, false).await.expect("changed");
    assert_eq!(listener.end_of(claims.session_id).await, EndReason::AccountInactive);
    refused(exchange(&harness, &key).await, Code::Unauthenticated, "ACCOUNT_INACTIVE");
    admin.set_active(&user, true).await.expect("changed");
    assert_ne!(session(&harness, &key).await, claims.session_id, "tokens from before stay invalid");
    refused(harness.me(access.expose()).await, Code::Unauthenticated, "SESSION_ENDED");
    admin.delete(&user).await.expect("deleted");
    refused(exchange(&harness, &key).await, Code::Unauthenticated, "INVALID_API_KEY");
}

async fn a_changed_role_reaches_the_next_token(database: Database) {
    let harness = Harness::new(&database).await;
    let user = harness.create("ada", pb::Role::Operator).await;
    let key = harness.enter("ada").await.create_api_key(new("ci")).await.expect("a key").key;
    let (before, ..) = exchange(&harness, &key).await.expect("a token");
    let (admin, mut listener) = (harness.admin().await, harness.listen().await);
    admin.set_role(&user, pb::Role::User).await.expect("changed");
    listener.end_of(before.session_id).await;
    let (after, ..) = exchange(&harness, &key).await.expect("a token");
    assert_eq!((before.role.as_str(), after.role.as_str()), ("operator", "user"));
    assert_ne!(before.session_id, after.session_id);
}

async fn a_ticket_permits_what_its_key_permits(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    let request = pb::CreateApiKeyRequest { scopes: vec!["chat".to_owned()], expires_in_days: Some(1), ..new("ci") };
    let created = admin.create_api_key(request).await.expect("a key");
    let (claims, access, _) = exchange(&harness, &created.key).await.expect("a token");
    let mut client = harness.client();
    let mut ticket = async |access: &AccessToken| {
        let created = client.create_ticket(access.request(pb::CreateTicketRequest {})).await;
        created.expect("a ticket").into_inner().ticket
    };
    let redeemed = harness.redeem(&ticket(&access).await).await.expect("a token");
    let redeemed = verified(&harness, &redeemed).await;
    assert_eq!((redeemed.api_key, redeemed.session_id), (claims.api_key, claims.session_id));
    assert!(redeemed.api_key.is_some_and(|key| key.scopes.allow(Scope::Chat, false)));
    // Its token does not outlive the key, and a key that has expired or is revoked opens nothing.
    harness.pass(24 * 3600 - 20);
    let (_, access, _) = exchange(&harness, &created.key).await.expect("a token");
    let (first, late) = (ticket(&access).await, ticket(&access).await);
    let redeemed = harness.redeem(&first).await.expect("a token");
    let left = harness.clock.now().duration_until(verified(&harness, &redeemed).await.expires_at).as_secs();
    assert_eq!(left, 20);
    harness.pass(20);
    refused(harness.redeem(&late).await, Code::Unauthenticated, "API_KEY_EXPIRED");
    let created = harness.admin().await.create_api_key(new("revoked")).await.expect("a key");
    let (_, access, _) = exchange(&harness, &created.key).await.expect("a token");
    let unused = ticket(&access).await;
    harness.admin().await.revoke_api_key(&created.api_key.expect("a description").id).await.expect("revoked");
    refused(harness.redeem(&unused).await, Code::Unauthenticated, "SESSION_ENDED");
}

async fn keys_outlive_passwords_and_sign_ins(database: Database) {
    let harness = Harness::new(&database).await;
    let user = harness.create("ada", pb::Role::User).await;
    let ada = harness.enter("ada").await;
    let key = ada.create_api_key(new("ci")).await.expect("a key").key;
    let begun = session(&harness, &key).await;
    ada.change_password(PASSWORD, OTHER_PASSWORD).await.expect("changed");
    assert_eq!(session(&harness, &key).await, begun);
    let admin = harness.admin().await;
    let request = admin.access.request(pb::EndUserSessionsRequest { user_id: user.id });
    harness.client().end_user_sessions(request).await.expect("ended");
    refused(ada.me().await, Code::Unauthenticated, "SESSION_ENDED");
    assert_eq!(session(&harness, &key).await, begun);
    for _ in 0..101 {
        harness.sign_in("ada", OTHER_PASSWORD).await.expect("a session");
    }
    assert_eq!(session(&harness, &key).await, begun, "the limit of sign-ins does not count it");
}

async fn a_key_manages_no_credentials_and_no_accounts(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    let key = admin.create_api_key(new("ci")).await.expect("a key").key;
    let (_, access, _) = exchange(&harness, &key).await.expect("a token");
    harness.me(access.expose()).await.expect("the one method that is allowed");
    let (mut client, mut keys) = (harness.client(), harness.api_keys());
    let user_id = admin.user.id.clone();
    macro_rules! refuses {
        ($($client:ident.$method:ident($request:expr);)*) => {$(
            let answer = $client.$method(access.request($request)).await;
            refused(answer, Code::PermissionDenied, "API_KEY_NOT_ALLOWED");
        )*};
    }
    refuses! {
        client.change_password(pb::ChangePasswordRequest::default());
        client.list_sessions(pb::ListSessionsRequest {});
        client.end_session(pb::EndSessionRequest::default());
        client.list_users(pb::ListUsersRequest::default());
        client.get_user(pb::GetUserRequest { user_id: user_id.clone() });
        client.create_user(pb::CreateUserRequest::default());
        client.update_user(pb::UpdateUserRequest::default());
        client.delete_user(pb::DeleteUserRequest { user_id: user_id.clone() });
        client.list_user_sessions(pb::ListUserSessionsRequest { user_id: user_id.clone() });
        client.end_user_sessions(pb::EndUserSessionsRequest { user_id: user_id.clone() });
        keys.create_api_key(new("another"));
        keys.list_api_keys(pb::ListApiKeysRequest {});
        keys.revoke_api_key(pb::RevokeApiKeyRequest::default());
        keys.list_user_api_keys(pb::ListUserApiKeysRequest { user_id: user_id.clone() });
        keys.revoke_user_api_key(pb::RevokeUserApiKeyRequest { user_id, ..Default::default() });
    }
}

async fn the_last_use_is_written_once_a_minute(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    let key = admin.create_api_key(new("ci")).await.expect("a key").key;
    let last_used = async || {
        let [listed] = admin.api_keys().await.expect("a list").try_into().expect("one key");
        listed.last_used_at.map(|at| at.seconds)
    };
    assert_eq!(last_used().await, None);
    session(&harness, &key).await;
    let first = harness.clock.now().as_second();
    assert_eq!(last_used().await, Some(first));
    harness.pass(60);
    session(&harness, &key).await;
    assert_eq!(last_used().await, Some(first), "within a minute");
    harness.pass(1);
    session(&harness, &key).await;
    assert_eq!(last_used().await, Some(first + 61));
}

async fn parallel_first_uses_share_one_session(database: Database) {
    let harness = Harness::new(&database).await;
    let key = harness.admin().await.create_api_key(new("ci")).await.expect("a key").key;
    let key_sha256 = ApiKey::parse(&key).expect("a key").digest().to_vec();
    let mut crowd = JoinSet::new();
    for _ in 0..20 {
        let (mut client, key_sha256) = (harness.api_keys(), key_sha256.clone());
        crowd.spawn(async move { client.exchange_api_key(pb::ExchangeApiKeyRequest { key_sha256 }).await });
    }
    let one = session(&harness, &key).await;
    let keys = harness.client().get_jwks(pb::GetJwksRequest {}).await.expect("keys").into_inner().jwks_json;
    let keys = KeySet::from_jwks(&keys).expect("keys");
    for answer in crowd.join_all().await {
        let token = answer.expect("a token").into_inner().access_token;
        assert_eq!(keys.verify(&token, harness.clock.now()).expect("valid").session_id, one);
    }
}

async fn users_revoke_only_their_own_keys_and_admins_those_of_others(database: Database) {
    let harness = Harness::new(&database).await;
    let user = harness.create("ada", pb::Role::User).await;
    let (admin, ada) = (harness.admin().await, harness.enter("ada").await);
    let hers = ada.create_api_key(new("hers")).await.expect("a key");
    let id = hers.api_key.clone().expect("a description").id;
    for foreign in [id.as_str(), "no id", "00000000-0000-7000-8000-000000000000"] {
        refused(admin.revoke_api_key(foreign).await, Code::NotFound, "NOT_FOUND");
    }
    let mut keys = harness.api_keys();
    let (user_id, other) = (user.id.clone(), admin.user.id.clone());
    let list = pb::ListUserApiKeysRequest { user_id: user_id.clone() };
    let revoke = pb::RevokeUserApiKeyRequest { user_id: user_id.clone(), id: id.clone() };
    let denied: Request<_> = ada.access.request(list.clone());
    refused(keys.list_user_api_keys(denied).await, Code::PermissionDenied, "FORBIDDEN");
    refused(keys.revoke_user_api_key(ada.access.request(revoke.clone())).await, Code::PermissionDenied, "FORBIDDEN");

    let listed = keys.list_user_api_keys(admin.access.request(list)).await.expect("a list").into_inner();
    assert_eq!(listed.api_keys, [hers.api_key.expect("a description")]);
    let wrong = pb::RevokeUserApiKeyRequest { user_id: other, id };
    refused(keys.revoke_user_api_key(admin.access.request(wrong)).await, Code::NotFound, "NOT_FOUND");
    exchange(&harness, &hers.key).await.expect("still good");
    keys.revoke_user_api_key(admin.access.request(revoke)).await.expect("revoked");
    refused(exchange(&harness, &hers.key).await, Code::Unauthenticated, "INVALID_API_KEY");
    let unknown = pb::ListUserApiKeysRequest { user_id: "no id".to_owned() };
    refused(keys.list_user_api_keys(admin.access.request(unknown)).await, Code::NotFound, "NOT_FOUND");
}
