//! How sockets and event streams end when something else ends: the process, the session, the account.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use turnpike_testkit::{Person, SingleProcess, within};

/// A connection whose request is sent up to its last line: the rest follows when the test says so.
async fn half_a_request(one: &SingleProcess, request: &str) -> TcpStream {
    let address = one.url().strip_prefix("http://").expect("a URL");
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(request.replace("HOST", address).as_bytes()).await.expect("sent");
    stream
}

async fn the_rest(mut stream: TcpStream) -> Vec<u8> {
    stream.write_all(b"\r\n").await.expect("sent");
    let mut answer = Vec::new();
    within("the gateway to close", 8, stream.read_to_end(&mut answer)).await.expect("read");
    answer
}

#[tokio::test]
async fn who_comes_while_the_gateway_stops_is_told_at_once() {
    let mut one = SingleProcess::start(&[]).await;
    let admin = one.admin().await;
    let mut sentinel = admin.socket().await;
    assert_eq!(sentinel.frame().await["event"], "hello");
    let credential = format!("Authorization: Bearer {}\r\n", admin.token);
    let upgrade = format!(
        "GET /ws HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{credential}"
    );
    let socket = half_a_request(&one, &upgrade).await;
    let user = admin.id();
    let follow = format!("GET /api/topics/user:{user}/events HTTP/1.1\r\nHost: HOST\r\n{credential}");
    let stream = half_a_request(&one, &follow).await;
    // One answered request shows that the server has read what was sent before it.
    assert_eq!(admin.get("/api/auth/me").await.status, 200);
    let late = async {
        assert_eq!(sentinel.until_closed().await.1.code, 1001);
        let (socket, stream) = tokio::join!(the_rest(socket), the_rest(stream));
        // the close frame: 0x88, its length, 1001
        let close = socket.windows(4).any(|bytes| bytes[0] == 0x88 && bytes[2..] == 1001_u16.to_be_bytes());
        assert!(close, "{}", String::from_utf8_lossy(&socket));
        let stream = String::from_utf8_lossy(&stream).into_owned();
        assert!(stream.starts_with("HTTP/1.1 503") && stream.contains("STOPPING"), "{stream}");
    };
    let (status, ()) = tokio::join!(one.process.stop(), late);
    assert_eq!(status.code(), Some(0), "{}", one.process.log());
    let log = one.process.log();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "an orderly stop is no warning:\n{log}");
}

/// The text of an event stream that somebody else ends.
async fn to_its_end(mut answer: reqwest::Response) -> String {
    let mut text = String::new();
    while let Some(chunk) = within("the stream to end", 20, answer.chunk()).await.expect("a chunk") {
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    text
}

async fn followed(person: &Person) -> reqwest::Response {
    let path = format!("/api/topics/user:{}/events", person.id());
    let mut answer = person.request(reqwest::Method::GET, &path).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    // It is open once it says something.
    within("the first line", 20, answer.chunk()).await.expect("a chunk");
    answer
}

#[tokio::test]
async fn an_event_stream_says_why_it_ends() {
    let one = SingleProcess::start(&[]).await;
    let admin = one.admin().await;
    let (leaver, inactive) = (admin.create_user("user").await, admin.create_user("user").await);
    let (left, deactivated) = (followed(&leaver).await, followed(&inactive).await);
    assert_eq!(leaver.post("/api/auth/logout", json!({})).await.status, 200);
    let text = to_its_end(left).await;
    let last = text.trim_end().lines().last().expect("a line");
    assert!(last.starts_with("data: ") && last.contains(r#""event":"error""#), "{text}");
    assert!(last.contains(r#""code":"SESSION_ENDED""#), "{text}");
    let account = format!("/api/admin/users/{}", inactive.id());
    assert_eq!(admin.patch(&account, json!({ "active": false })).await.status, 200);
    assert!(to_its_end(deactivated).await.contains(r#""code":"ACCOUNT_INACTIVE""#));
}
