//! The Rust client library against real gateways: cuts, lost topics, tokens, and the ends of a connection.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;
use turnpike_client::{
    Client, Credential, CredentialError, Error, Fixed, Offset, Options, SecretString, Session, Since, Topic, Update,
};
use turnpike_testkit::{ADMIN_PASSWORD, Person, Proxy, Stack, within};

const QUICK: Options = Options { pauses: (Duration::from_millis(20), Duration::from_millis(200)), attempts: None };

async fn room(admin: &Person) -> (String, Topic) {
    let made = admin.post("/api/rooms", json!({ "name": "Workshop", "visibility": "public" })).await;
    let id = made.json["id"].as_str().expect("an id").to_owned();
    let topic = format!("room:{id}").parse().expect("a topic");
    (id, topic)
}

async fn say(admin: &Person, room: &str, text: &str) {
    let answer = admin.post(&format!("/api/rooms/{room}/messages"), json!({ "content": text })).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
}

async fn next<C: Credential>(client: &mut Client<C>) -> Update {
    within("an update", 30, client.next()).await.expect("the client goes on")
}

/// The next message; everything else is passed to `other`.
async fn message<C: Credential>(client: &mut Client<C>, mut other: impl FnMut(&Update)) -> (Offset, String) {
    loop {
        match next(client).await {
            Update::Event { offset, frame, .. } if frame["event"] == "message" => {
                return (offset, frame["content"].as_str().expect("a text").to_owned());
            }
            update => other(&update),
        }
    }
}

async fn until_caught_up<C: Credential>(client: &mut Client<C>) {
    while !matches!(next(client).await, Update::CaughtUp { .. }) {}
}

#[tokio::test]
async fn every_message_comes_once_over_many_cuts() {
    let stack = Stack::start(1, &[]).await;
    let (admin, proxy) = (stack.admin(0).await, Proxy::to(stack.url(0)).await);
    let (id, topic) = room(&admin).await;
    let session =
        Session::sign_in(stack.url(0), "admin", &SecretString::from(ADMIN_PASSWORD)).await.expect("signed in");
    let mut client = Client::new(proxy.url(), session, QUICK).expect("an address");
    client.follow(topic, Since::Live);
    until_caught_up(&mut client).await;
    const MESSAGES: usize = 60;
    let writing = async {
        for n in 0..MESSAGES {
            say(&admin, &id, &n.to_string()).await;
            if n % 10 == 5 {
                proxy.disconnect();
                // Some messages are written while there is no connection.
                say(&admin, &id, &format!("{n} and a half")).await;
                proxy.restore();
            }
        }
    };
    let (mut cuts, mut got, mut last) = (0, Vec::new(), None::<Offset>);
    let reading = async {
        while got.len() < MESSAGES + MESSAGES / 10 {
            let (offset, content) = message(&mut client, |update| match update {
                Update::Disconnected { .. } => cuts += 1,
                Update::Reset { .. } | Update::Refused { .. } => panic!("{update:?}"),
                _ => {}
            })
            .await;
            assert!(last.is_none_or(|last| offset > last), "in order");
            last = Some(offset);
            got.push(content);
        }
    };
    within("all messages", 60, Box::pin(async { tokio::join!(writing, reading) })).await;
    let expected: Vec<String> = (0..MESSAGES)
        .flat_map(|n| std::iter::once(n.to_string()).chain((n % 10 == 5).then(|| format!("{n} and a half"))))
        .collect();
    assert_eq!(got, expected);
    assert!(cuts >= 1, "the connection was cut {cuts} times");
}

#[tokio::test]
async fn a_silent_connection_is_replaced() {
    let stack = Stack::start(1, &[("TURNPIKE_HEARTBEAT_SECONDS", "1")]).await;
    let (admin, proxy) = (stack.admin(0).await, Proxy::to(stack.url(0)).await);
    let (id, topic) = room(&admin).await;
    let mut client = Client::new(proxy.url(), Fixed(admin.token.clone().into()), QUICK).expect("an address");
    client.follow(topic, Since::Live);
    until_caught_up(&mut client).await;
    proxy.stall_open_connections(); // nothing is closed, and nothing arrives
    let began = Instant::now();
    say(&admin, &id, "are you there?").await;
    let mut reasons = Vec::new();
    let (_, content) = message(&mut client, |update| {
        if let Update::Disconnected { reason, .. } = update {
            reasons.push(reason.clone());
        }
    })
    .await;
    assert_eq!((content.as_str(), reasons), ("are you there?", vec!["the gateway is silent".to_owned()]));
    assert!(began.elapsed() >= Duration::from_secs(1), "after a heartbeat and a half");
}

#[tokio::test]
async fn a_topic_that_redis_lost_is_reported_and_continues() {
    let mut stack = Stack::start(1, &[]).await;
    let admin = stack.admin(0).await;
    let (id, topic) = room(&admin).await;
    let mut client = Client::new(stack.url(0), Fixed(admin.token.clone().into()), QUICK).expect("an address");
    client.follow(topic, Since::Start);
    say(&admin, &id, "before").await;
    assert_eq!(message(&mut client, |_| {}).await.1, "before");
    stack.redis.restart().await;
    say(&admin, &id, "after").await;
    let mut resets = Vec::new();
    let content = loop {
        let (_, content) = message(&mut client, |update| {
            if let Update::Reset { frame, .. } = update {
                resets.push(frame["reason"].clone());
            }
        })
        .await;
        // After a reset, what the server has comes again.
        if content == "after" {
            break content;
        }
    };
    assert_eq!(content, "after");
    assert!(resets.contains(&json!("epoch")), "{resets:?}");
}

#[tokio::test]
async fn tokens_are_refreshed_and_a_refused_credential_is_the_end() {
    let stack = Stack::start(1, &[]).await;
    let admin = stack.admin(0).await;
    let (id, topic) = room(&admin).await;
    // The access token is not valid (any more); the refresh token is.
    let old = SecretString::from("not.a.token");
    let session = Session::resume(stack.url(0), old.clone(), admin.refresh_token.clone().into()).expect("a session");
    let mut client = Client::new(stack.url(0), session, QUICK).expect("an address");
    client.follow(topic, Since::Live);
    until_caught_up(&mut client).await;
    say(&admin, &id, "hello").await;
    assert_eq!(message(&mut client, |_| {}).await.1, "hello");

    let mut refused = Client::new(stack.url(0), Fixed(old), QUICK).expect("an address");
    let end = loop {
        match within("the end", 30, refused.next()).await {
            Ok(Update::Disconnected { .. }) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert!(matches!(end, Error::SignedOut(_)), "{end:?}");
    let wrong = Session::sign_in(stack.url(0), "admin", &SecretString::from("wrong")).await;
    assert!(matches!(wrong, Err(CredentialError::SignedOut(_))));

    // The session ends while the connection is open.
    assert_eq!(admin.post("/api/auth/logout", json!({})).await.status, 200);
    let end = loop {
        match within("the end", 30, client.next()).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(end, Error::SignedOut(_)), "{end:?}");
}

#[tokio::test]
async fn publishing_is_answered_and_refusals_are_told() {
    let stack = Stack::start(1, &[]).await;
    let admin = stack.admin(0).await;
    let (_, topic) = room(&admin).await;
    let mut client = Client::new(stack.url(0), Fixed(admin.token.clone().into()), QUICK).expect("an address");
    let content = |text: &str| Map::from_iter([("content".to_owned(), Value::from(text))]);
    assert!(matches!(client.publish(topic, "message", content("x")), Err(Error::NotNow)), "there is no connection yet");
    client.follow(topic, Since::Live);
    until_caught_up(&mut client).await;
    let id = client.publish(topic, "message", content("hello")).expect("connected");
    let (mut heard, mut answered) = (false, false);
    while !heard || !answered {
        match next(&mut client).await {
            Update::Event { frame, .. } if frame["content"] == "hello" => heard = true,
            Update::Answer { id: answered_id, frame } => {
                assert_eq!((answered_id, &frame["event"]), (id, &json!("published")), "{frame}");
                answered = true;
            }
            _ => {}
        }
    }
    let nowhere: Topic = "room:01890000-0000-7000-8000-000000000000".parse().expect("a topic");
    client.follow(nowhere, Since::Start);
    let refused = loop {
        if let Update::Refused { topic, code, .. } = next(&mut client).await {
            break (topic, code);
        }
    };
    assert_eq!(refused, (nowhere, "NOT_FOUND".to_owned()));

    // An admin closes the connection: the client does not come back by itself.
    let all = admin.get("/api/admin/connections").await.json;
    let id = all[0]["id"].as_str().expect("an id");
    assert_eq!(admin.delete(&format!("/api/admin/connections/{id}")).await.status, 204);
    let end = loop {
        match within("the end", 30, client.next()).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(&end, Error::Refused(reason) if reason == "Closed by an administrator"), "{end:?}");
}

#[tokio::test]
async fn a_client_gives_up_after_the_attempts_that_it_has() {
    let options = Options { attempts: Some(3), ..QUICK };
    // Nothing listens on the port 9.
    let mut client = Client::new("http://127.0.0.1:9", Fixed("x".into()), options).expect("an address");
    let mut pauses = 0;
    let end = loop {
        match within("the end", 30, client.next()).await {
            Ok(Update::Disconnected { .. }) => pauses += 1,
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert!(matches!(end, Error::Unreachable(_)) && pauses == 2, "{end:?} after {pauses}");
    assert!(matches!(Client::new("https://example.com", Fixed("x".into()), QUICK), Err(Error::Address(_))));
}
