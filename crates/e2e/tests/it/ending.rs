//! How sockets and event streams end when the process stops, the session ends or the account is deactivated.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use turnpike_testkit::{Person, SingleProcess, within};

/// Opens a connection and sends a request without its final empty line.
async fn send_incomplete_request(turnpike: &SingleProcess, request: &str) -> TcpStream {
    let address = turnpike.url().strip_prefix("http://").expect("the URL is valid");
    let mut stream = TcpStream::connect(address).await.expect("the connection is accepted");
    stream.write_all(request.replace("HOST", address).as_bytes()).await.expect("the data is sent");
    stream
}

async fn complete_request(mut stream: TcpStream) -> Vec<u8> {
    stream.write_all(b"\r\n").await.expect("the data is sent");
    let mut answer = Vec::new();
    within("the gateway to close", 8, stream.read_to_end(&mut answer)).await.expect("the response is read");
    answer
}

#[tokio::test]
async fn requests_during_shutdown_are_refused_at_once() {
    let mut turnpike = SingleProcess::start(&[]).await;
    let admin = turnpike.admin().await;
    let mut first_socket = admin.socket().await;
    assert_eq!(first_socket.frame().await["event"], "hello");
    let credential = format!("Authorization: Bearer {}\r\n", admin.token);
    let upgrade = format!(
        "GET /ws HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{credential}"
    );
    let socket = send_incomplete_request(&turnpike, &upgrade).await;
    let user = admin.id();
    let follow = format!("GET /api/topics/user:{user}/events HTTP/1.1\r\nHost: HOST\r\n{credential}");
    let stream = send_incomplete_request(&turnpike, &follow).await;
    // When this request is answered, the server has read the two incomplete requests.
    assert_eq!(admin.get("/api/auth/me").await.status, 200);
    let during_shutdown = async {
        assert_eq!(first_socket.until_closed().await.1.code, 1001);
        let (socket, stream) = tokio::join!(complete_request(socket), complete_request(stream));
        // the close frame: 0x88, its length, 1001
        let close = socket.windows(4).any(|bytes| bytes[0] == 0x88 && bytes[2..] == 1001_u16.to_be_bytes());
        assert!(close, "{}", String::from_utf8_lossy(&socket));
        let stream = String::from_utf8_lossy(&stream).into_owned();
        assert!(stream.starts_with("HTTP/1.1 503") && stream.contains("STOPPING"), "{stream}");
    };
    let (status, ()) = tokio::join!(turnpike.process.stop(), during_shutdown);
    assert_eq!(status.code(), Some(0), "{}", turnpike.process.log());
    let log = turnpike.process.log();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "an orderly stop logs no warning:\n{log}");
}

/// Reads an event stream until the gateway ends it.
async fn read_to_end(mut answer: reqwest::Response) -> String {
    let mut text = String::new();
    while let Some(chunk) = within("the stream to end", 20, answer.chunk()).await.expect("a chunk") {
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    text
}

async fn open_stream(person: &Person) -> reqwest::Response {
    let path = format!("/api/topics/user:{}/events", person.id());
    let mut answer = person.request(reqwest::Method::GET, &path).send().await.expect("the gateway responds");
    assert_eq!(answer.status(), 200);
    // The gateway follows the topic once it has sent the first line.
    within("the first line", 20, answer.chunk()).await.expect("a chunk");
    answer
}

#[tokio::test]
async fn an_event_stream_ends_with_an_error_event_that_names_the_reason() {
    let turnpike = SingleProcess::start(&[]).await;
    let admin = turnpike.admin().await;
    let (signed_out, deactivated) = (admin.create_user("user").await, admin.create_user("user").await);
    let (signed_out_stream, deactivated_stream) = (open_stream(&signed_out).await, open_stream(&deactivated).await);
    assert_eq!(signed_out.post("/api/auth/logout", json!({})).await.status, 200);
    let text = read_to_end(signed_out_stream).await;
    let last = text.trim_end().lines().last().expect("a line");
    assert!(last.starts_with("data: ") && last.contains(r#""event":"error""#), "{text}");
    assert!(last.contains(r#""code":"SESSION_ENDED""#), "{text}");
    let account = format!("/api/admin/users/{}", deactivated.id());
    assert_eq!(admin.patch(&account, json!({ "active": false })).await.status, 200);
    assert!(read_to_end(deactivated_stream).await.contains(r#""code":"ACCOUNT_INACTIVE""#));
}
