//! The floor: a server that does nothing but write prepared frames to the sockets of a topic.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

type Topics = Arc<Mutex<HashMap<String, Vec<Member>>>>;

/// A socket, and the rest of what it could not take.
struct Member {
    stream: Arc<TcpStream>,
    rest: Vec<u8>,
}

/// Serves until the process is stopped. A connection whose first line is `PUBLISH` publishes; any other is a WebSocket.
pub(crate) async fn serve(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
    let topics = Topics::default();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let topics = topics.clone();
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let mut stream = BufReader::with_capacity(64 << 10, stream);
            let mut line = String::new();
            let _ = stream.read_line(&mut line).await;
            if line == "PUBLISH\n" {
                publish(stream, &topics).await;
            } else {
                follow(stream, &line, &topics).await;
            }
        });
    }
}

async fn follow(mut stream: BufReader<TcpStream>, request: &str, topics: &Topics) {
    let topic = request.split(' ').nth(1).unwrap_or_default().trim_start_matches("/ws/t").to_owned();
    let mut line = String::new();
    while stream.read_line(&mut line).await.is_ok_and(|read| read > 2) {
        line.clear();
    }
    let accepted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    if stream.write_all(accepted.as_bytes()).await.is_err() {
        return;
    }
    let stream = Arc::new(stream.into_inner());
    topics.lock().entry(topic).or_default().push(Member { stream, rest: Vec::new() });
}

/// Writes all payloads that have arrived to each socket of their topic at once.
async fn publish(mut stream: BufReader<TcpStream>, topics: &Topics) {
    let mut arrived = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        arrived.extend_from_slice(&buffer[..read]);
        let mut batches: HashMap<String, Vec<u8>> = HashMap::new();
        let end = memchr::memrchr(b'\n', &arrived).map_or(0, |at| at + 1);
        for line in arrived[..end].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let space = memchr::memchr(b' ', line).expect("a topic and a payload");
            let (topic, payload) = (String::from_utf8_lossy(&line[..space]), &line[space + 1..]);
            let batch = batches.entry(topic.into_owned()).or_default();
            batch.extend([0x81, 126]);
            batch.extend(u16::try_from(payload.len()).expect("a short payload").to_be_bytes());
            batch.extend_from_slice(payload);
        }
        arrived.drain(..end);
        let mut topics = topics.lock();
        for (topic, batch) in batches {
            let Some(members) = topics.get_mut(&topic) else { continue };
            members.retain_mut(|member| member.write(&batch));
        }
    }
}

impl Member {
    /// Returns whether the socket is open.
    fn write(&mut self, batch: &[u8]) -> bool {
        if !self.rest.is_empty() {
            self.rest.extend_from_slice(batch);
            let rest = std::mem::take(&mut self.rest);
            return self.write(&rest);
        }
        match self.stream.try_write(batch) {
            Ok(written) => {
                self.rest.extend_from_slice(&batch[written..]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                self.rest.extend_from_slice(batch);
                true
            }
            Err(_) => false,
        }
    }
}
