//! The description of the API is one that generators of clients can use.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use turnpike_testkit::{Person, SingleProcess};

#[tokio::test]
async fn every_operation_is_described() {
    let one = SingleProcess::start(&[]).await;
    let stranger = Person::anonymous(one.url());
    let description = stranger.get("/api/openapi.json").await.json;
    let mut ids = BTreeSet::new();
    for (path, item) in description["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let name = format!("{method} {path}");
            assert!(
                ids.insert(operation["operationId"].as_str().expect("an id").to_owned()),
                "{name}: an id of its own"
            );
            assert!(operation["summary"].is_string(), "{name}: a summary");
            let open = operation["security"].as_array().is_some_and(|ways| ways.contains(&json!({})));
            assert!(open || operation["responses"]["401"].is_object(), "{name}: a credential is needed, and 401 said");
            for (status, response) in operation["responses"].as_object().expect("responses") {
                assert!(
                    response["description"].as_str().is_some_and(|text| !text.is_empty()),
                    "{name}: what {status} means"
                );
                let kinds = response["content"].as_object().map(|content| content.keys().cloned().collect::<Vec<_>>());
                if status.starts_with('4') {
                    assert_eq!(kinds, Some(vec!["application/problem+json".to_owned()]), "{name}: {status}");
                }
            }
        }
    }
    assert_eq!(stranger.get("/docs/").await.status, 200);
    assert_ne!(description["components"]["schemas"]["ProblemBody"], Value::Null);
}
