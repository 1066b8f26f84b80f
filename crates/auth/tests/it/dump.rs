//! A copy of the database contains no usable credential.

use sqlx::{AnyPool, Row};
use turnpike_proto::auth::v1 as pb;
use turnpike_testkit::Database;

use crate::harness::Harness;

turnpike_testkit::on_both!(no_value_in_a_dump_works_as_a_credential);

/// Every text and every blob (as text, base64 and hex) of every table.
async fn dump(url: &str) -> Vec<String> {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    sqlx::any::install_default_drivers();
    let pool = AnyPool::connect(url).await.expect("the database");
    let tables = if url.starts_with("sqlite") {
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> '_sqlx_migrations'"
    } else {
        "SELECT table_name::text AS name FROM information_schema.tables
         WHERE table_schema = 'public' AND table_name <> '_sqlx_migrations'"
    };
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&pool).await.expect("the tables");
    assert!(tables.len() >= 5, "{tables:?}");
    let mut values = Vec::new();
    for table in tables {
        let sql = sqlx::AssertSqlSafe(format!("SELECT * FROM {table}"));
        for row in sqlx::query(sql).fetch_all(&pool).await.expect("the rows") {
            for column in 0..row.len() {
                if let Ok(Some(text)) = row.try_get::<Option<String>, _>(column) {
                    values.push(text);
                } else if let Ok(Some(bytes)) = row.try_get::<Option<Vec<u8>>, _>(column) {
                    values.push(BASE64_URL_SAFE_NO_PAD.encode(&bytes));
                    values.push(String::from_utf8_lossy(&bytes).into_owned());
                }
            }
        }
    }
    pool.close().await;
    values.sort();
    values.dedup();
    values
}

async fn no_value_in_a_dump_works_as_a_credential(database: Database) {
    let harness = Harness::new(&database).await;
    let ada = harness.create("ada", pb::Role::User).await;
    let (admin, them) = (harness.admin().await, harness.enter("ada").await);
    harness.refresh(&them.refresh).await.expect("a successor");
    let ticket = admin.ticket().await.expect("a ticket");
    let code = harness.one_time_code().await;
    // The result of the request is stored for a repetition.
    let new = pb::CreateApiKeyRequest { name: "ci".to_owned(), idempotency_key: "k".to_owned(), ..Default::default() };
    let api_key = admin.create_api_key(new).await.expect("a key").key;
    harness.exchange_api_key(&api_key).await.expect("a token");
    let values = dump(database.url()).await;
    assert!(values.contains(&ada.email) && values.iter().any(|value| value.starts_with("$argon2id$")), "it is a dump");
    for secret in [&admin.cookie, &them.cookie, &admin.refresh, &them.refresh, &ticket, &code, &api_key] {
        assert!(!values.contains(secret), "{secret} stands there as it is");
    }
    for value in &values {
        assert!(harness.me(value).await.is_err(), "{value} is a token");
        assert!(harness.refresh(value).await.is_err(), "{value} is a refresh token");
        assert!(harness.exchange(value).await.is_err(), "{value} is a cookie");
        assert!(harness.redeem(value).await.is_err(), "{value} is a ticket");
        assert!(harness.redeem_code(value).await.is_err(), "{value} is a one-time code");
        assert!(harness.exchange_api_key(value).await.is_err(), "{value} is an API key");
    }
    // Each takes a hash, so only texts that could be a password.
    for value in values.iter().filter(|value| value.len() > 8) {
        for name in ["admin", "ada"] {
            assert!(harness.sign_in(name, value).await.is_err(), "{value} is the password of {name}");
        }
    }
    // The attempts have changed nothing.
    for session in [&admin, &them] {
        session.me().await.expect("still in");
    }
    harness.exchange_api_key(&api_key).await.expect("the key itself still works");
    harness.redeem(&ticket).await.expect("the ticket itself still works");
    harness.redeem_code(&code).await.expect("the code itself still works");
}
