//! The OpenAPI description is complete enough for client generators.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use turnpike_testkit::{Person, SingleProcess};

#[tokio::test]
async fn every_operation_is_described() {
    let turnpike = SingleProcess::start(&[]).await;
    let anonymous = Person::anonymous(turnpike.url());
    let description = anonymous.get("/api/openapi.json").await.json;
    let mut ids = BTreeSet::new();
    for (path, item) in description["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let name = format!("{method} {path}");
            assert!(
                ids.insert(operation["operationId"].as_str().expect("an id").to_owned()),
                "{name}: a unique operation id"
            );
            assert!(operation["summary"].is_string(), "{name}: a summary");
            let public = operation["security"].as_array().is_some_and(|options| options.contains(&json!({})));
            assert!(
                public || operation["responses"]["401"].is_object(),
                "{name}: a route that needs a credential documents 401"
            );
            for (status, response) in operation["responses"].as_object().expect("responses") {
                assert!(
                    response["description"].as_str().is_some_and(|text| !text.is_empty()),
                    "{name}: a description of {status}"
                );
                let types = response["content"].as_object().map(|content| content.keys().cloned().collect::<Vec<_>>());
                if status.starts_with('4') {
                    // Clients of OpenAI expect errors in its form.
                    let error = if path.starts_with("/v1/") { "application/json" } else { "application/problem+json" };
                    assert_eq!(types, Some(vec![error.to_owned()]), "{name}: {status}");
                }
            }
        }
    }
    assert_eq!(anonymous.get("/docs/").await.status, 200);
    assert_ne!(description["components"]["schemas"]["ProblemBody"], Value::Null);
}
