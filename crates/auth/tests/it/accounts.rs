//! Administration of accounts, and the last active admin.

use std::collections::BTreeSet;

use tokio::task::JoinSet;
use tonic::Code;
use turnpike_event::{AccountEvent, Body, EndReason};
use turnpike_fault::{Fault, Kind};
use turnpike_proto::auth::v1 as pb;
use turnpike_testkit::Database;
use turnpike_topic::UserId;

use crate::harness::{Harness, OTHER_PASSWORD, PASSWORD, refused};

turnpike_testkit::on_both!(
    accounts_are_created_listed_changed_and_deleted,
    a_name_is_taken_in_any_case,
    an_account_that_is_not_valid_is_refused_by_field,
    only_admins_administer,
    users_are_named_by_id_and_found_by_name,
    a_demotion_takes_effect_at_once,
    a_deactivation_ends_every_session_and_is_published,
    the_last_active_admin_stays,
    of_two_admins_who_deactivate_each_other_one_stays,
    a_password_that_an_admin_sets_ends_the_sessions,
    an_admins_password_wins_over_the_users_at_the_same_moment,
    an_unknown_role_is_refused,
);

async fn users_are_named_by_id_and_found_by_name(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    let ada = admin.create("Ada", "ada@example.com", pb::Role::User).await.expect("made");
    let bob = admin.create("bob", "bob@example.com", pb::Role::User).await.expect("made");
    let gone = admin.create("gone", "gone@example.com", pb::Role::User).await.expect("made");
    admin.delete(&gone).await.expect("deleted");
    let ask = async |user_ids: Vec<String>, usernames: &[&str]| {
        let usernames = usernames.iter().map(|name| (*name).to_owned()).collect();
        let request = admin.access.request(pb::NameUsersRequest { user_ids, usernames });
        admin.client().name_users(request).await.map(|answer| {
            let users = answer.into_inner().users.into_iter();
            users.map(|one| (one.user_id, one.username)).collect::<BTreeSet<_>>()
        })
    };
    let found = ask(vec![bob.id.clone(), gone.id.clone()], &["aDA", "nobody", "gone"]).await.expect("names");
    assert_eq!(found, BTreeSet::from([(bob.id, "bob".to_owned()), (ada.id, "Ada".to_owned())]));
    assert_eq!(ask(Vec::new(), &[]).await.expect("names"), BTreeSet::new());
    for request in [ask(vec!["not an id".to_owned()], &[]).await, ask(Vec::new(), &["x"; 101]).await] {
        assert_eq!(Fault::from(&request.expect_err("not valid")).kind(), Kind::Validation);
    }
}

async fn accounts_are_created_listed_changed_and_deleted(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    let mut made = BTreeSet::from([admin.user.id.clone()]);
    for n in 0..25 {
        harness.pass(1);
        let user =
            admin.create(&format!("u{n}"), &format!("u{n}@example.com"), pb::Role::Operator).await.expect("made");
        assert_eq!((user.role(), user.active, user.display_name.as_str()), (pb::Role::Operator, true, &*user.username));
        made.insert(user.id);
    }
    let (mut seen, mut cursor, mut sizes) = (Vec::new(), String::new(), Vec::new());
    loop {
        let request = admin.access.request(pb::ListUsersRequest { limit: 10, cursor });
        let page = admin.client().list_users(request).await.expect("a page").into_inner();
        sizes.push(page.users.len());
        seen.extend(page.users);
        cursor = page.next_cursor;
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(sizes, [10, 10, 6]);
    assert!(seen.is_sorted_by(|a, b| a.id > b.id), "newest first");
    assert_eq!(seen.iter().map(|user| user.id.clone()).collect::<BTreeSet<_>>(), made);
    for request in [
        pb::ListUsersRequest { limit: 101, cursor: String::new() },
        pb::ListUsersRequest { limit: 1, cursor: "not a cursor".to_owned() },
    ] {
        let status = admin.client().list_users(admin.access.request(request)).await.expect_err("not valid");
        assert_eq!(Fault::from(&status).kind(), Kind::Validation);
    }

    let ada = &seen[0];
    let change = pb::UpdateUserRequest {
        user_id: ada.id.clone(),
        display_name: Some("Countess".to_owned()),
        ..Default::default()
    };
    let changed = admin.update(change).await.expect("changed");
    assert_eq!(changed, pb::User { display_name: "Countess".to_owned(), ..ada.clone() }, "and nothing else");
    let get = pb::GetUserRequest { user_id: ada.id.clone() };
    let got = admin.client().get_user(admin.access.request(get.clone())).await.expect("there").into_inner();
    assert_eq!(got, changed);

    admin.delete(ada).await.expect("deleted");
    refused(admin.client().get_user(admin.access.request(get)).await, Code::NotFound, "NOT_FOUND");
    refused(admin.delete(ada).await, Code::NotFound, "NOT_FOUND");
    refused(admin.set_active(ada, true).await, Code::NotFound, "NOT_FOUND");
    admin.create(&ada.username, &ada.email, pb::Role::User).await.expect("the names are free again");
}

async fn a_name_is_taken_in_any_case(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    admin.create("Ada", "Ada@Example.com", pb::Role::User).await.expect("made");
    for (username, email, field, word) in [
        ("aDA", "other@example.com", "username", "USERNAME_TAKEN"),
        ("other", "aDA@eXAMPLE.COM", "email", "EMAIL_TAKEN"),
    ] {
        let status = admin.create(username, email, pb::Role::User).await.expect_err("taken");
        let fault = Fault::from(&status);
        assert_eq!((fault.kind(), fault.code()), (Kind::Conflict, word));
        assert_eq!(fault.fields()[0].field, field);
    }
    // at the same moment, too
    let mut crowd = JoinSet::new();
    for n in 0..8 {
        let (mut client, access) = (admin.client(), admin.access.clone());
        let username = if n % 2 == 0 { "grace" } else { "GRACE" }.to_owned();
        crowd.spawn(async move {
            let email = format!("grace{n}@example.com");
            let request =
                pb::CreateUserRequest { email, username, password: PASSWORD.to_owned(), ..Default::default() };
            client.create_user(access.request(request)).await
        });
    }
    let (made, taken): (Vec<_>, Vec<_>) = crowd.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!(made.len(), 1);
    for answer in taken {
        refused(answer, Code::FailedPrecondition, "USERNAME_TAKEN");
    }
}

async fn an_account_that_is_not_valid_is_refused_by_field(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    let good = pb::CreateUserRequest {
        email: "ada@example.com".to_owned(),
        username: "ada".to_owned(),
        password: PASSWORD.to_owned(),
        ..Default::default()
    };
    let with = |change: fn(&mut pb::CreateUserRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    for (request, field) in [
        (with(|r| r.email = "no address".to_owned()), "email"),
        (with(|r| r.email = "a\0@example.com".to_owned()), "email"),
        (with(|r| r.username = "with@sign".to_owned()), "username"),
        (with(|r| r.username = String::new()), "username"),
        (with(|r| r.display_name = "two\nlines".to_owned()), "display_name"),
        (with(|r| r.password = "short".to_owned()), "password"),
        (with(|r| r.password = "x".repeat(257)), "password"),
    ] {
        let status = admin.client().create_user(admin.access.request(request)).await.expect_err(field);
        let fault = Fault::from(&status);
        assert_eq!((fault.kind(), fault.fields()[0].field.as_str()), (Kind::Validation, field));
    }
    admin.client().create_user(admin.access.request(good.clone())).await.expect("the rest of it was good");
}

async fn only_admins_administer(database: Database) {
    let harness = Harness::new(&database).await;
    for (name, role) in [("u", pb::Role::User), ("o", pb::Role::Operator), ("e", pb::Role::Engineer)] {
        let user = harness.create(name, role).await;
        let them = harness.enter(name).await;
        refused(them.create("x", "x@example.com", pb::Role::Admin).await, Code::PermissionDenied, "FORBIDDEN");
        refused(them.set_role(&user, pb::Role::Admin).await, Code::PermissionDenied, "FORBIDDEN");
        refused(them.delete(&user).await, Code::PermissionDenied, "FORBIDDEN");
        let list = them.access.request(pb::ListUsersRequest::default());
        refused(them.client().list_users(list).await, Code::PermissionDenied, "FORBIDDEN");
        let get = them.access.request(pb::GetUserRequest { user_id: user.id.clone() });
        refused(them.client().get_user(get).await, Code::PermissionDenied, "FORBIDDEN");
        let end = them.access.request(pb::EndUserSessionsRequest { user_id: user.id.clone() });
        refused(them.client().end_user_sessions(end).await, Code::PermissionDenied, "FORBIDDEN");
    }
    refused(
        harness.client().list_users(pb::ListUsersRequest::default()).await,
        Code::Unauthenticated,
        "UNAUTHENTICATED",
    );
}

async fn a_demotion_takes_effect_at_once(database: Database) {
    let harness = Harness::new(&database).await;
    let (admin, second) = (harness.admin().await, harness.create("second", pb::Role::Admin).await);
    let them = harness.enter("second").await;
    let (session, mut listener) = (them.session_id().await, harness.listen().await);
    admin.set_role(&second, pb::Role::Engineer).await.expect("demoted");
    // the token still says "admin" for a quarter of an hour
    refused(them.set_role(&second, pb::Role::Admin).await, Code::Unauthenticated, "SESSION_ENDED");
    assert_eq!(listener.end_of(session).await, EndReason::Revoked);
    let again = harness.enter("second").await;
    refused(again.set_role(&second, pb::Role::Admin).await, Code::PermissionDenied, "FORBIDDEN");
}

async fn a_deactivation_ends_every_session_and_is_published(database: Database) {
    let harness = Harness::new(&database).await;
    let (admin, ada) = (harness.admin().await, harness.create("ada", pb::Role::User).await);
    let them = harness.enter("ada").await;
    let (session, ticket) = (them.session_id().await, them.ticket().await.expect("a ticket"));
    let mut listener = harness.listen().await;
    admin.set_active(&ada, false).await.expect("switched off");
    assert_eq!(account_changed(&listener.next_event().await), Some((them.user_id(), false)));
    assert_eq!(listener.end_of(session).await, EndReason::AccountInactive);
    let revocations = harness.revocations().await;
    assert!(revocations.iter().any(|one| one.inactive_user_id == ada.id && one.session_id.is_empty()));
    assert!(revocations.iter().any(|one| one.session_id == session.to_string()));

    for answer in [
        harness.me(them.access.expose()).await.map(|_| ()),
        harness.refresh(&them.refresh).await.map(|_| ()),
        harness.exchange(&them.cookie).await.map(|_| ()),
        harness.redeem(&ticket).await.map(|_| ()),
    ] {
        assert_eq!(answer.expect_err("nothing works").code(), Code::Unauthenticated);
    }
    admin.set_active(&ada, true).await.expect("switched on");
    assert_eq!(account_changed(&listener.next_event().await), Some((them.user_id(), true)));
    assert!(!harness.revocations().await.iter().any(|one| one.inactive_user_id == ada.id));
    refused(them.me().await, Code::Unauthenticated, "SESSION_ENDED");
    harness.enter("ada").await;

    harness.pass(901); // every earlier token has expired: no revocation is needed
    assert!(harness.revocations().await.is_empty());
}

async fn the_last_active_admin_stays(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    let me = admin.user.clone();
    harness.create("engineer", pb::Role::Engineer).await;
    let idle = harness.create("idle", pb::Role::Admin).await;
    admin.set_active(&idle, false).await.expect("switched off");
    refused(admin.set_role(&me, pb::Role::Engineer).await, Code::FailedPrecondition, "LAST_ADMIN");
    refused(admin.set_active(&me, false).await, Code::FailedPrecondition, "LAST_ADMIN");
    refused(admin.delete(&me).await, Code::FailedPrecondition, "LAST_ADMIN");
    assert_eq!(admin.me().await.expect("still signed in"), me);
    admin.delete(&idle).await.expect("an inactive admin can be deleted");
}

async fn of_two_admins_who_deactivate_each_other_one_stays(database: Database) {
    let harness = Harness::new(&database).await;
    for round in 0..6 {
        let first = harness.admin().await;
        let name = format!("second{round}");
        let other = harness.create(&name, pb::Role::Admin).await;
        let second = harness.enter(&name).await;
        let (a, b) = tokio::join!(
            async {
                match round % 3 {
                    0 => first.set_role(&other, pb::Role::User).await.map(|_| ()),
                    1 => first.set_active(&other, false).await.map(|_| ()),
                    _ => first.delete(&other).await,
                }
            },
            async {
                match round % 2 {
                    0 => second.set_active(&first.user, false).await.map(|_| ()),
                    _ => second.set_role(&first.user, pb::Role::User).await.map(|_| ()),
                }
            },
        );
        assert!(a.is_ok() || b.is_ok(), "one request was first: {a:?} {b:?}");
        assert!(a.is_err() || b.is_err(), "the other request is refused");
        if let Ok(()) = b {
            // restore the first admin
            let fresh = harness.enter(&name).await;
            fresh.set_active(&first.user, true).await.expect("on again");
            fresh.set_role(&first.user, pb::Role::Admin).await.expect("admin again");
            harness.admin().await.set_role(&other, pb::Role::User).await.expect("demoted");
        }
    }
}

async fn a_password_that_an_admin_sets_ends_the_sessions(database: Database) {
    let harness = Harness::new(&database).await;
    let (admin, ada) = (harness.admin().await, harness.create("ada", pb::Role::User).await);
    let them = harness.enter("ada").await;
    let (session, mut listener) = (them.session_id().await, harness.listen().await);
    let weak =
        pb::UpdateUserRequest { user_id: ada.id.clone(), password: Some("short".to_owned()), ..Default::default() };
    let fault = Fault::from(&admin.update(weak).await.expect_err("weak"));
    assert_eq!((fault.kind(), fault.fields()[0].field.as_str()), (Kind::Validation, "password"));
    them.me().await.expect("still signed in");
    let password = Some(OTHER_PASSWORD.to_owned());
    admin.update(pb::UpdateUserRequest { user_id: ada.id, password, ..Default::default() }).await.expect("set");
    assert_eq!(listener.end_of(session).await, EndReason::PasswordChanged);
    refused(them.me().await, Code::Unauthenticated, "SESSION_ENDED");
    harness.sign_in("ada", OTHER_PASSWORD).await.expect("the new one");
}

async fn an_admins_password_wins_over_the_users_at_the_same_moment(database: Database) {
    const MINE: &str = "quietly paddling otters at dusk";
    let harness = Harness::new(&database).await;
    let (admin, ada) = (harness.admin().await, harness.create("ada", pb::Role::User).await);
    let reset = async |to: &str| {
        let password = Some(to.to_owned());
        admin.update(pb::UpdateUserRequest { user_id: ada.id.clone(), password, ..Default::default() }).await
    };
    for _ in 0..8 {
        let them = harness.enter("ada").await;
        // The order does not matter: the user's password is either replaced, or compared with an outdated one.
        let (_, set) = tokio::join!(them.change_password(PASSWORD, MINE), reset(OTHER_PASSWORD));
        set.expect("an admin does not need the old password");
        harness.sign_in("ada", OTHER_PASSWORD).await.expect("the admin's");
        refused(harness.sign_in("ada", MINE).await, Code::Unauthenticated, "INVALID_CREDENTIALS");
        refused(them.me().await, Code::Unauthenticated, "SESSION_ENDED");
        reset(PASSWORD).await.expect("set");
    }
}

async fn an_unknown_role_is_refused(database: Database) {
    let harness = Harness::new(&database).await;
    let (admin, ada) = (harness.admin().await, harness.create("ada", pb::Role::Operator).await);
    for none in [pb::Role::Unspecified as i32, 99, -1] {
        let change = pb::UpdateUserRequest { user_id: ada.id.clone(), role: Some(none), ..Default::default() };
        let fault = Fault::from(&admin.update(change).await.expect_err("no role"));
        assert_eq!((fault.kind(), fault.fields()[0].field.as_str()), (Kind::Validation, "role"), "{none}");
    }
    let change =
        pb::UpdateUserRequest { user_id: ada.id.clone(), display_name: Some("  ".to_owned()), ..Default::default() };
    assert_eq!(
        admin.update(change).await.expect("a blank display name becomes the username"),
        pb::User { display_name: "ada".to_owned(), ..ada }
    );
}

fn account_changed(body: &Body) -> Option<(UserId, bool)> {
    match body {
        Body::Account(AccountEvent::Changed { user_id, active, change: 1.. }) => Some((*user_id, *active)),
        _ => None,
    }
}
