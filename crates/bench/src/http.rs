//! An HTTP/1.1 client with one persistent connection and little overhead, for measurements with client and server on one machine.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use turnpike_testkit::Person;

pub(crate) struct Connection {
    stream: TcpStream,
    head: String,
    buffer: Vec<u8>,
    keys: bool,
}

impl Connection {
    pub(crate) async fn open(base: &str, person: &Person) -> Self {
        let host = base.trim_start_matches("http://");
        let stream = TcpStream::connect(host).await.expect("the gateway accepts the connection");
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        let head = format!("Host: {host}\r\nAuthorization: Bearer {}\r\n", person.token);
        Self { stream, head, buffer: Vec::with_capacity(64 << 10), keys: false }
    }

    /// Whether each POST gets its own `Idempotency-Key`.
    pub(crate) fn with_keys(self, keys: bool) -> Self {
        Self { keys, ..self }
    }

    pub(crate) async fn get(&mut self, path: &str) -> (u16, &[u8]) {
        let request = format!("GET {path} HTTP/1.1\r\n{}\r\n", self.head);
        self.call(&request).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &str) -> (u16, &[u8]) {
        let key = if self.keys { format!("Idempotency-Key: {}\r\n", uuid::Uuid::now_v7()) } else { String::new() };
        let request = format!(
            "POST {path} HTTP/1.1\r\n{}{key}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.head,
            body.len()
        );
        self.call(&request).await
    }

    async fn call(&mut self, request: &str) -> (u16, &[u8]) {
        self.stream.write_all(request.as_bytes()).await.expect("the connection is open");
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await.expect("the connection is open");
            assert!(read > 0, "the gateway closed the connection");
            let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&self.buffer[..end]).expect("text").to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.parse().expect("a number"));
            if self.buffer.len() >= end + 4 + length {
                let status = head[9..12].parse().expect("a status");
                return (status, &self.buffer[end + 4..end + 4 + length]);
            }
        }
    }
}
