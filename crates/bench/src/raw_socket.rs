//! A WebSocket client with little overhead, because it shares the machine with the server.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use turnpike_testkit::Person;

pub(crate) struct RawSocket {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl RawSocket {
    /// Opens `/ws`. A small receive buffer fills soon if the client does not read.
    pub(crate) async fn open(base: &str, person: &Person, small: bool) -> Self {
        Self::try_open(base, person, small).await.expect("the gateway opens the socket")
    }

    /// `None`: the gateway refuses the socket or does not run.
    pub(crate) async fn try_open(base: &str, person: &Person, small: bool) -> Option<Self> {
        let host = base.trim_start_matches("http://");
        let socket = TcpSocket::new_v4().expect("a socket");
        if small {
            socket.set_recv_buffer_size(4 << 10).expect("SO_RCVBUF can be set");
        }
        let mut stream = socket.connect(host.parse().expect("an address")).await.ok()?;
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {}\r\n\r\n",
            person.token
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut buffer = Vec::new();
        let end = loop {
            match stream.read_buf(&mut buffer).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return None,
            }
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
        };
        if !buffer.starts_with(b"HTTP/1.1 101") {
            return None;
        }
        buffer.drain(..end);
        Some(Self { stream, buffer })
    }

    /// Subscribes to a topic and waits until the gateway has caught up.
    pub(crate) async fn follow(&mut self, topic: &str) {
        self.send(0x1, format!(r#"{{"action":"subscribe","topic":"{topic}","since":"live"}}"#).as_bytes())
            .await
            .expect("the frame is sent");
        let mut caught_up = false;
        while !caught_up {
            let open = self.read(|text| caught_up |= text.windows(11).any(|window| window == b"\"caught_up\"")).await;
            assert!(open, "the gateway closes the socket");
        }
    }

    /// Sends a text frame. Returns whether the socket is open.
    pub(crate) async fn try_send(&mut self, text: &str) -> bool {
        self.send(0x1, text.as_bytes()).await.is_ok()
    }

    async fn send(&mut self, opcode: u8, payload: &[u8]) -> std::io::Result<()> {
        let mut frame = vec![0x80 | opcode];
        match u8::try_from(payload.len()) {
            Ok(short) if short < 126 => frame.push(0x80 | short),
            _ => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(payload.len()).expect("a short frame").to_be_bytes());
            }
        }
        frame.extend([0; 4]); // a mask that changes nothing
        frame.extend(payload);
        self.stream.write_all(&frame).await
    }

    /// Waits for bytes and passes on the text frames that they complete; answers pings. Returns whether the socket is open.
    pub(crate) async fn read(&mut self, mut text: impl FnMut(&[u8])) -> bool {
        self.buffer.reserve(16 << 10);
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return false,
        }
        let (mut start, mut pongs) = (0, 0);
        while let Some((header, length)) = frame(&self.buffer[start..]) {
            let payload = &self.buffer[start + header..start + header + length];
            match self.buffer[start] & 0x0f {
                0x1 => text(payload),
                0x9 => pongs += 1,
                0x8 => return false,
                _ => {}
            }
            start += header + length;
        }
        self.buffer.drain(..start);
        for _ in 0..pongs {
            if self.send(0xa, b"").await.is_err() {
                return false;
            }
        }
        true
    }
}

/// The lengths of header and payload, if the whole frame is there.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let (header, length) = match *bytes.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        short => (2, usize::from(short)),
    };
    (bytes.len() >= header + length).then_some((header, length))
}
