//! One client of any of the servers: how its socket is opened and subscribed, and how the payloads in its bytes are counted.
//!
//! A payload begins with a mark and the time of its publication. The client looks for the mark in all bytes that arrive and does not
//! parse frames, so it costs about the same for every server.

use std::time::{SystemTime, UNIX_EPOCH};

use memchr::memmem::Finder;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Duration, timeout},
};

/// How a server is spoken to over its WebSocket.
#[derive(Clone)]
pub(crate) enum Protocol {
    /// `/ws`, with an access token and the names of the topics.
    Turnpike {
        token: String,
        topics: Vec<String>,
    },
    Nchan,
    Nats,
    Mqtt,
    SocketIo,
    /// The topic is in the path, and every frame is a payload.
    Plain,
}

const MARK: &[u8] = b"@@@@";
/// The mark and 16 hexadecimal digits of microseconds.
const HEAD: usize = 20;
/// The content of a payload.
const PAYLOAD: usize = 128;
/// How long a server has to answer a handshake.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn payload() -> String {
    let now = micros();
    format!("@@@@{now:016x}{}", "x".repeat(PAYLOAD - HEAD))
}

pub(crate) fn micros() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros();
    u64::try_from(now).expect("before the year 500000")
}

/// Counts payloads in the bytes of one socket.
pub(crate) struct Counter {
    finder: Finder<'static>,
    buffer: Vec<u8>,
    kept: usize,
}

impl Counter {
    pub(crate) fn new() -> Self {
        Self { finder: Finder::new(MARK), buffer: vec![0; 16 << 10], kept: 0 }
    }

    /// Waits for bytes. Calls `arrived` with the time of publication of each payload. Returns whether the socket is open.
    pub(crate) async fn read(&mut self, stream: &mut TcpStream, mut arrived: impl FnMut(&[u8])) -> bool {
        let Ok(read @ 1..) = stream.read(&mut self.buffer[self.kept..]).await else { return false };
        let end = self.kept + read;
        let mut next = 0;
        while let Some(at) = self.finder.find(&self.buffer[next..end]).map(|at| next + at) {
            if at + HEAD > end {
                break;
            }
            arrived(&self.buffer[at + MARK.len()..at + HEAD]);
            next = at + HEAD;
        }
        let keep = next.max(end.saturating_sub(HEAD - 1));
        self.buffer.copy_within(keep..end, 0);
        self.kept = end - keep;
        true
    }
}

/// Opens a socket that follows a topic. A small receive buffer fills soon if the client does not read.
pub(crate) async fn open(address: &str, protocol: &Protocol, topic: usize, small: bool) -> TcpStream {
    let opened = async {
        let socket = TcpSocket::new_v4().expect("a socket");
        if small {
            socket.set_recv_buffer_size(4 << 10).expect("SO_RCVBUF can be set");
        }
        let mut stream = socket.connect(address.parse().expect("an address")).await.expect("the server listens");
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        let (path, header) = match protocol {
            Protocol::Turnpike { token, .. } => ("/ws".to_owned(), format!("Authorization: Bearer {token}\r\n")),
            Protocol::Nchan => (format!("/sub?id=t{topic}"), String::new()),
            Protocol::Nats => ("/".to_owned(), String::new()),
            Protocol::Mqtt => ("/mqtt".to_owned(), "Sec-WebSocket-Protocol: mqtt\r\n".to_owned()),
            Protocol::SocketIo => ("/socket.io/?EIO=4&transport=websocket".to_owned(), String::new()),
            Protocol::Plain => (format!("/ws/t{topic}"), String::new()),
        };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{header}\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("the request is sent");
        let mut seen = Vec::new();
        until(&mut stream, &mut seen, b"\r\n\r\n").await;
        assert!(seen.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&seen));
        subscribe(&mut stream, protocol, topic, &mut seen).await;
        stream
    };
    timeout(PATIENCE, opened).await.expect("the server answers the handshake")
}

async fn subscribe(stream: &mut TcpStream, protocol: &Protocol, topic: usize, seen: &mut Vec<u8>) {
    match protocol {
        Protocol::Turnpike { topics, .. } => {
            let request = format!(r#"{{"action":"subscribe","topic":"{}","since":"live"}}"#, topics[topic]);
            send(stream, 0x1, request.as_bytes()).await;
            until(stream, seen, b"\"caught_up\"").await;
        }
        Protocol::Nchan | Protocol::Plain => {}
        Protocol::Nats => {
            until(stream, seen, b"INFO ").await;
            let lines = format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB t{topic} 1\r\nPING\r\n");
            send(stream, 0x2, lines.as_bytes()).await;
            until(stream, seen, b"PONG\r\n").await;
        }
        Protocol::Mqtt => {
            send(stream, 0x2, &mqtt_connect()).await;
            until(stream, seen, &[0x20, 2, 0, 0]).await;
            let name = format!("t{topic}");
            let mut packet = vec![0x82, u8::try_from(name.len() + 5).expect("short"), 0, 1, 0];
            packet.push(u8::try_from(name.len()).expect("short"));
            packet.extend(name.as_bytes());
            packet.push(0);
            send(stream, 0x2, &packet).await;
            until(stream, seen, &[0x90, 3, 0, 1, 0]).await;
        }
        Protocol::SocketIo => {
            until(stream, seen, b"0{").await;
            send(stream, 0x1, b"40").await;
            until(stream, seen, b"40{").await;
            send(stream, 0x1, format!("420[\"join\",\"t{topic}\"]").as_bytes()).await;
            until(stream, seen, b"430[").await;
        }
    }
}

/// CONNECT of MQTT 3.1.1: a clean session without a keep-alive and with an id by the server.
pub(crate) fn mqtt_connect() -> Vec<u8> {
    let mut packet = vec![0x10, 12, 0, 4];
    packet.extend(b"MQTT");
    packet.extend([4, 2, 0, 0, 0, 0]);
    packet
}

/// Reads until the bytes have been seen.
async fn until(stream: &mut TcpStream, seen: &mut Vec<u8>, expected: &[u8]) {
    while memchr::memmem::find(seen, expected).is_none() {
        let read = stream.read_buf(seen).await.expect("the server answers");
        assert!(read > 0, "the server closes the connection: {}", String::from_utf8_lossy(seen));
    }
}

/// Sends one frame with a mask that changes nothing.
async fn send(stream: &mut TcpStream, opcode: u8, payload: &[u8]) {
    let mut frame = vec![0x80 | opcode];
    match u8::try_from(payload.len()) {
        Ok(short) if short < 126 => frame.push(0x80 | short),
        _ => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(payload.len()).expect("a short frame").to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    stream.write_all(&frame).await.expect("the frame is sent");
}
