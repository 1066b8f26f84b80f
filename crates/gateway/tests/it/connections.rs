//! `/api/admin/connections` of one gateway: what it reports of sockets and streams, its pages, and the end of a connection.

use serde_json::{Value, json};
use tokio::task::JoinSet;
use turnpike_kit::Clock;
use turnpike_proto::topic::v1 as topic_pb;
use turnpike_testkit::{Person, Socket, eventually};
use turnpike_token::Role;

use crate::gateway::Gateway;

const COMMAND: &str = "01890000-0000-7000-8000-000000000003";

/// A gateway whose owners admit everybody, behind a proxy that it trusts.
async fn gateway() -> Gateway {
    let gateway = Gateway::with(&[("TURNPIKE_TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    gateway.vehicles.respond::<topic_pb::AuthorizeRequest, _>(topic_pb::AuthorizeResponse::default());
    gateway
}

async fn open(gateway: &Gateway, person: &Person, address: &str) -> Socket {
    let bearer = format!("Bearer {}", person.token);
    let headers =
        [("authorization", bearer.as_str()), ("x-forwarded-for", address), ("user-agent", &"robot ".repeat(100))];
    let mut socket = gateway.open("/ws", &headers).await.expect("a socket");
    assert_eq!(socket.frame().await["event"], "hello");
    socket
}

async fn listed(admin: &Person, query: &str) -> Vec<Value> {
    let answer = admin.get(&format!("/api/admin/connections{query}")).await;
    assert_eq!(
        (answer.status, answer.headers["x-gateways-asked"].as_bytes()),
        (200, b"1".as_slice()),
        "{}",
        answer.text
    );
    assert!(answer.headers.get("x-gateways-missing").is_none());
    answer.json.as_array().expect("a list").clone()
}

#[tokio::test]
async fn a_socket_is_reported_with_its_user_its_origin_and_its_traffic() {
    let gateway = gateway().await;
    let (admin, ada) = (gateway.caller(Role::Admin), gateway.caller(Role::User));
    let began = Clock::system().now();
    let mut socket = open(&gateway, &ada, "203.0.113.7").await;
    let [one] = listed(&admin, "").await.try_into().expect("one connection");
    assert_eq!(
        (&one["user_id"], &one["address"], &one["route"]),
        (&json!(ada.id()), &json!("203.0.113.7"), &json!("/ws"))
    );
    assert_eq!(one["user_agent"].as_str().map(str::len), Some(128), "cut");
    assert!(
        one["gateway"].as_str().is_some_and(|name| name.ends_with(gateway.base.rsplit(':').next().expect("a port")))
    );
    assert_eq!((&one["topics"], &one["lag"], &one["last_heartbeat"]), (&json!([]), &json!(0), &json!(null)));
    let since: jiff::Timestamp = one["since"].as_str().and_then(|at| at.parse().ok()).expect("a time");
    assert!(since >= began - jiff::SignedDuration::from_millis(1) && since <= Clock::system().now());
    let (sent, received) = (one["bytes_sent"].as_u64().expect("bytes"), one["bytes_received"].as_u64().expect("bytes"));
    assert!(sent > 0 && received == 0, "hello was sent: {one}");

    socket.send(json!({ "action": "subscribe", "topic": format!("response:{COMMAND}"), "since": "live" })).await;
    let one = eventually("the topic and the traffic", 10, || async {
        let [one]: [Value; 1] = listed(&admin, "").await.try_into().expect("one connection");
        (one["topics"] == json!([format!("response:{COMMAND}")]) && one["bytes_received"] != 0).then_some(one)
    })
    .await;
    assert_eq!(one["topics_total"], 1);
    assert!(one["last_active"].as_str() >= one["since"].as_str());
    socket.close().await;
    eventually("the end of the socket", 10, || async { listed(&admin, "").await.is_empty().then_some(()) }).await;
}

#[tokio::test]
async fn pages_are_newest_first_and_without_gaps() {
    let gateway = gateway().await;
    let (admin, ada, bob) = (gateway.caller(Role::Admin), gateway.caller(Role::User), gateway.caller(Role::User));
    let mut sockets = Vec::new();
    for n in 0..7 {
        sockets.push(open(&gateway, if n == 3 { &bob } else { &ada }, "203.0.113.7").await);
    }
    let (mut pages, mut path) = (Vec::new(), "/api/admin/connections?limit=3".to_owned());
    loop {
        let answer = admin.get(&path).await;
        pages.push(answer.json.as_array().expect("a list").clone());
        let Some(link) = answer.headers.get("link") else { break };
        path = link.to_str().expect("text").trim_start_matches('<').split('>').next().expect("a link").to_owned();
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 1]);
    let ids: Vec<_> = pages.concat().iter().map(|one| one["id"].as_str().expect("an id").to_owned()).collect();
    assert!(ids.is_sorted_by(|a, b| a > b), "{ids:?}");
    let bobs = listed(&admin, &format!("?user_id={}", bob.id())).await;
    assert_eq!((bobs.len(), &bobs[0]["user_id"]), (1, &json!(bob.id())));
    for (query, field) in [("?limit=0", "limit"), ("?cursor=x", "cursor"), ("?user_id=x", "user_id")] {
        let answer = admin.get(&format!("/api/admin/connections{query}")).await;
        assert_eq!((answer.status, &answer.json["errors"][0]["field"]), (422, &json!(field)), "{}", answer.text);
    }
}

#[tokio::test]
async fn an_admin_closes_a_socket_and_a_stream() {
    let gateway = gateway().await;
    let (admin, ada) = (gateway.caller(Role::Admin), gateway.caller(Role::User));
    let socket = open(&gateway, &ada, "203.0.113.7").await;
    let path = format!("/api/topics/response:{COMMAND}/events?since=live");
    let mut stream = JoinSet::new();
    stream.spawn({
        let ada = ada.clone();
        async move { ada.get(&path).await.text }
    });
    let both = eventually("both connections", 10, || async {
        let both = listed(&admin, "").await;
        (both.len() == 2).then_some(both)
    })
    .await;
    let streamed = both.iter().find(|one| one["route"] == "/api/topics/{topic}/events").expect("a stream");
    assert_eq!(streamed["topics"], json!([format!("response:{COMMAND}")]));
    for one in &both {
        let path = format!("/api/admin/connections/{}", one["id"].as_str().expect("an id"));
        assert_eq!(ada.delete(&path).await.status, 403, "only an admin");
        assert_eq!(admin.delete(&path).await.status, 204);
    }
    let (_, closed) = socket.until_closed().await;
    assert_eq!((closed.code, closed.reason.as_str()), (1008, "Closed by an administrator"));
    let text = stream.join_next().await.expect("a stream").expect("a text");
    assert!(text.contains("CLOSED_BY_ADMIN"), "{text}");
    let gone = format!("/api/admin/connections/{}", both[0]["id"].as_str().expect("an id"));
    eventually("no connection", 10, || async { listed(&admin, "").await.is_empty().then_some(()) }).await;
    assert_eq!(admin.delete(&gone).await.status, 404);
    assert_eq!(admin.delete("/api/admin/connections/none").await.status, 404, "no id");
}

#[tokio::test]
async fn only_admins_see_connections() {
    let gateway = gateway().await;
    for role in [Role::User, Role::Operator, Role::Engineer] {
        assert_eq!(gateway.caller(role).get("/api/admin/connections").await.status, 403, "{role}");
    }
}
