//! Server-sent events of a response: the frames in their `data` lines.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

/// The gateway sends comments more often than this, so a silent connection is dead.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest event.
const MAX_EVENT: usize = 64 << 20;

pub(super) struct Events {
    response: reqwest::Response,
    received: Vec<u8>,
    /// Bytes before this position contain no end of an event.
    scanned: usize,
}

impl Events {
    pub(super) fn new(response: reqwest::Response) -> Self {
        Self { response, received: Vec::new(), scanned: 0 }
    }

    /// The next frame; `None` when the connection has ended or is broken.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        loop {
            while let Some(event) = self.take_event() {
                if let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) {
                    return Ok(Some(serde_json::from_str(data).context("the gateway sent a frame that is not JSON")?));
                }
            }
            ensure!(self.received.len() <= MAX_EVENT, "the gateway sent an event of more than {MAX_EVENT} bytes");
            match tokio::time::timeout(SILENCE_TIMEOUT, self.response.chunk()).await {
                Ok(Ok(Some(bytes))) => self.received.extend_from_slice(&bytes),
                Ok(Ok(None) | Err(_)) | Err(_) => return Ok(None),
            }
        }
    }

    fn take_event(&mut self) -> Option<String> {
        let end = self.received[self.scanned..].windows(2).position(|two| two == b"\n\n");
        let Some(end) = end.map(|end| self.scanned + end) else {
            self.scanned = self.received.len().saturating_sub(1);
            return None;
        };
        let event = String::from_utf8_lossy(&self.received[..end]).into_owned();
        self.received.drain(..end + 2);
        self.scanned = 0;
        Some(event)
    }
}
