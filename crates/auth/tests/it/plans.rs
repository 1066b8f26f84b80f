//! Query plans and retention: no statement reads every row of a table that grows, and expired rows are removed.

use sqlx::{AnyConnection, Connection};
use turnpike_proto::auth::v1 as pb;
use turnpike_testkit::{Database, Statements, eventually};

use crate::harness::Harness;

turnpike_testkit::on_both!(no_statement_reads_a_whole_table_and_expired_rows_are_removed);

async fn count(database: &Database, sql: &'static str) -> i64 {
    let mut connection = AnyConnection::connect(database.url()).await.expect("the database");
    sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect("a number")
}

async fn no_statement_reads_a_whole_table_and_expired_rows_are_removed(database: Database) {
    let statements = Statements::capture();
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    let new = pb::CreateApiKeyRequest { name: "ci".to_owned(), idempotency_key: "k".to_owned(), ..Default::default() };
    let created = admin.create_api_key(new).await.expect("a key");
    harness.exchange_api_key(&created.key).await.expect("a token");
    harness.pass(61);
    harness.exchange_api_key(&created.key).await.expect("a token");
    admin.api_keys().await.expect("a list");
    admin.revoke_api_key(&created.api_key.expect("a description").id).await.expect("revoked");
    let ended = harness.admin().await;
    let user = admin.create("someone", "someone@example.com", pb::Role::User).await.expect("an account");
    let names = pb::NameUsersRequest { user_ids: vec![user.id.clone()], usernames: vec!["someone".to_owned()] };
    admin.client().name_users(admin.access.request(names)).await.expect("names");
    admin.set_role(&user, pb::Role::Operator).await.expect("changed");
    admin.set_active(&user, false).await.expect("changed");
    admin.delete(&user).await.expect("deleted");
    admin.ticket().await.expect("a ticket");
    let used = ended.ticket().await.expect("a ticket");
    harness.redeem(&used).await.expect("a token");
    harness.refresh(&admin.refresh).await.expect("tokens");
    harness.exchange(&admin.cookie).await.expect("a token");
    admin.sessions().await.expect("a list");
    ended.end_session(&ended.session_id().await.to_string()).await.expect("ended");
    harness.revocations().await;
    assert_eq!(count(&database, "SELECT COUNT(*) FROM tickets").await, 1);
    assert_eq!(count(&database, "SELECT COUNT(*) FROM sessions").await, 3);
    harness.pass(31 * 24 * 3600);
    eventually("expired rows to be removed", 20, || async {
        harness.pass(600);
        let left = count(&database, "SELECT (SELECT COUNT(*) FROM tickets) + (SELECT COUNT(*) FROM sessions)").await;
        (left == 0).then_some(())
    })
    .await;
    let wanted = ["DELETE FROM sessions", "DELETE FROM tickets", "DELETE FROM idempotency_keys"];
    // Lists by id that stop at their limit, and an index of nothing but admins.
    let bounded = [
        "FROM outbox ORDER BY id LIMIT",
        "FROM outbox LIMIT 1",
        "FROM users WHERE deleted_at IS NULL AND",
        "WHERE role = 'admin' AND active = 1",
    ];
    statements.assert_indexed(&database, &wanted, &bounded).await;
}
