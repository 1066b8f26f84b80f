//! Tokens of ended sessions, after every process that verifies tokens has restarted.

use serde_json::json;
use turnpike_testkit::{Stack, eventually};

#[tokio::test]
async fn a_revoked_token_is_refused_after_a_restart_without_auth() {
    let mut stack = Stack::start(1, &[]).await;
    let (ended, open) = (stack.admin(0).await, stack.admin(0).await);
    assert_eq!(ended.post("/api/auth/logout", json!({})).await.status, 200);
    eventually("the session to end at the gateway", 10, || async {
        (ended.get("/api/vehicles").await.status == 401).then_some(())
    })
    .await;

    stack.auth.kill();
    stack.vehicles.kill();
    stack.gateways[0].kill();
    stack.vehicles.start();
    stack.gateways[0].start();
    let ready = format!("{}/health/ready", stack.url(0));
    let missing = eventually("the gateway to report what is missing", 30, || async {
        let answer = reqwest::get(&ready).await.ok()?;
        assert_eq!(answer.status().as_u16(), 503, "the gateway is not ready");
        let report: serde_json::Value = answer.json().await.ok()?;
        report["missing"]["auth"].as_str().map(str::to_owned)
    })
    .await;
    assert!(missing.contains("ended sessions"), "{missing}");
    for person in [&ended, &open] {
        let answer = person.get("/api/vehicles").await;
        assert_eq!((answer.status, &answer.json["code"]), (503, &json!("UPSTREAM_UNAVAILABLE")), "{}", answer.text);
        assert!(answer.headers.contains_key("retry-after"));
    }

    stack.auth.start();
    let code = eventually("the gateway to load the ended sessions", 30, || async {
        let answer = ended.get("/api/vehicles").await;
        assert!([401, 503].contains(&answer.status), "the token is never accepted: {}", answer.text);
        (answer.status == 401).then_some(answer.json["code"].clone())
    })
    .await;
    assert_eq!(code, "SESSION_ENDED");
    stack.wait_until_ready().await;
    assert_eq!(open.get("/api/vehicles").await.status, 200);
}
