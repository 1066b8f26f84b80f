//! The server under test, as the load generator sees it, and a blocking HTTP/1.1 connection with little overhead.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

/// An OpenAI-compatible server.
#[derive(Clone, clap::Args)]
pub(crate) struct Target {
    /// Base URL, with its /v1
    #[arg(long)]
    pub(crate) url: String,
    /// Access token or API key
    #[arg(long, default_value = "none")]
    pub(crate) key: String,
    /// Further header lines, such as "x-name: value"
    #[arg(long)]
    pub(crate) header: Vec<String>,
    /// The process under test, with its children, whose CPU time and memory are reported
    #[arg(long)]
    pub(crate) pid: Option<u32>,
}

impl Target {
    /// `127.0.0.1:8080`.
    pub(crate) fn address(&self) -> &str {
        let rest = self.url.trim_start_matches("http://");
        rest.split('/').next().unwrap_or(rest)
    }

    /// A request whose prompt has this directive for the upstream.
    pub(crate) fn request(&self, directive: &str, stream: bool) -> Vec<u8> {
        let body = format!(
            "{{\"model\":\"mock\",\"messages\":[{{\"role\":\"system\",\"content\":\"You are a helpful assistant that answers in one \
             short paragraph.\"}},{{\"role\":\"user\",\"content\":\"Which vehicles need service this week? mock:{directive} \"}}],\
             \"temperature\":0.7,\"max_tokens\":256,\"stream\":{stream}}}"
        );
        self.post("/chat/completions", &body)
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Vec<u8> {
        let base = self.url.trim_start_matches("http://");
        let (host, root) =
            base.split_once('/').map_or((base, String::new()), |(host, root)| (host, format!("/{root}")));
        let more: String = self.header.iter().map(|line| format!("{line}\r\n")).collect();
        format!(
            "POST {root}{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n{more}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.key,
            body.len()
        )
        .into_bytes()
    }
}

/// A persistent connection on which one thread sends one request after the other.
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
    line: String,
    body: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(target: &Target) -> Self {
        let stream = TcpStream::connect(target.address()).expect("the server accepts the connection");
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout can be set");
        Self { reader: BufReader::with_capacity(16 << 10, stream), line: String::new(), body: Vec::new() }
    }

    /// Sends a request and reads the whole response. Returns the status, or the error of the connection.
    pub(crate) fn call(&mut self, request: &[u8]) -> std::io::Result<u16> {
        self.reader.get_mut().write_all(request)?;
        let (status, length) = self.head()?;
        self.body.clear();
        match length {
            Some(length) => self.read(length)?,
            None => loop {
                self.next_line()?;
                let size =
                    usize::from_str_radix(self.line.trim(), 16).map_err(|_| invalid("a chunk without its size"))?;
                self.read(size)?;
                self.next_line()?;
                if size == 0 {
                    break;
                }
            },
        }
        Ok(status)
    }

    /// The body of the last response.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// The status and the length of the body; none: it is sent in chunks.
    fn head(&mut self) -> std::io::Result<(u16, Option<usize>)> {
        self.next_line()?;
        let status =
            self.line.get(9..12).and_then(|status| status.parse().ok()).ok_or_else(|| invalid("no status line"))?;
        let mut length = Some(0);
        loop {
            self.next_line()?;
            let line = self.line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                return Ok((status, length));
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = Some(value.trim().parse().map_err(|_| invalid("a length that is no number"))?);
            } else if line.starts_with("transfer-encoding:") && line.ends_with("chunked") {
                length = None;
            }
        }
    }

    fn next_line(&mut self) -> std::io::Result<()> {
        self.line.clear();
        match self.reader.read_line(&mut self.line)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn read(&mut self, length: usize) -> std::io::Result<()> {
        let start = self.body.len();
        self.body.resize(start + length, 0);
        self.reader.read_exact(&mut self.body[start..])
    }
}

fn invalid(what: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned())
}
