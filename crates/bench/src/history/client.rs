//! A client that follows all topics, is cut or stalls at random times, and resumes at a random gateway.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};
use turnpike_testkit::Person;
use turnpike_topic::Topic;

use super::{
    below,
    check::{Line, Position},
};
use crate::raw_socket::RawSocket;

pub(super) struct Client {
    rng: ChaCha8Rng,
    topics: Arc<[Topic]>,
    urls: Arc<[String]>,
    admin: Person,
    /// The last event of each topic.
    positions: Vec<Position>,
    log: Vec<Line>,
}

/// The pause after an attempt to connect that failed.
const RETRY_DELAY: Duration = Duration::from_millis(50);
/// A client that gets nothing for this long connects again.
const SILENCE: Duration = Duration::from_secs(5);

impl Client {
    pub(super) fn new(
        rng: ChaCha8Rng,
        topics: Arc<[Topic]>,
        urls: Arc<[String]>,
        admin: Person,
        positions: Vec<Position>,
    ) -> Self {
        Self { rng, topics, urls, admin, positions, log: Vec::new() }
    }

    /// Returns the log when it has everything after the publishers have stopped.
    pub(super) async fn run(
        mut self,
        heads: Arc<[Mutex<Position>]>,
        stopped: Arc<AtomicBool>,
        reconnects: Arc<AtomicU64>,
    ) -> Vec<Line> {
        loop {
            let gateway = usize::try_from(below(&mut self.rng, self.urls.len() as u64)).unwrap_or_default();
            let opened = RawSocket::try_open(&self.urls[gateway], &self.admin, true);
            let Ok(Some(mut socket)) = tokio::time::timeout(SILENCE, opened).await else {
                tokio::time::sleep(RETRY_DELAY).await;
                continue;
            };
            reconnects.fetch_add(1, Ordering::Relaxed);
            if self.subscribe(&mut socket).await {
                // The connection is cut after so many reads, with whatever is on its way.
                let reads = 1 + below(&mut self.rng, 400);
                for _ in 0..reads {
                    let is_complete = (0..self.topics.len()).all(|topic| self.positions[topic] == *heads[topic].lock());
                    if is_complete && stopped.load(Ordering::SeqCst) {
                        return self.log;
                    }
                    if below(&mut self.rng, 50) == 0 {
                        tokio::time::sleep(Duration::from_millis(below(&mut self.rng, 1500))).await;
                    }
                    if !self.read(&mut socket).await {
                        break;
                    }
                }
            }
        }
    }

    async fn subscribe(&mut self, socket: &mut RawSocket) -> bool {
        let topics: Map<String, Value> = std::iter::zip(self.topics.iter(), &self.positions)
            .map(|(topic, (epoch, n))| (topic.to_string(), format!("{epoch}-{n}").into()))
            .collect();
        let request = json!({ "action": "subscribe", "id": 1, "topics": topics }).to_string();
        socket.try_send(&request).await
    }

    /// Returns whether the socket is open.
    async fn read(&mut self, socket: &mut RawSocket) -> bool {
        let mut texts = Vec::new();
        let read = tokio::time::timeout(SILENCE, socket.read(|text| texts.push(text.to_vec()))).await;
        let mut is_open = matches!(read, Ok(true));
        for text in texts {
            let frame: Value = serde_json::from_slice(&text).expect("a frame is JSON");
            let topic = self.topics.iter().position(|topic| frame["topic"] == topic.to_string());
            let Some(topic) = topic else { continue };
            match (frame["event"].as_str(), frame["offset"].as_str()) {
                (_, Some(offset)) => {
                    let (epoch, n) = offset.split_once('-').expect("an offset");
                    let at = (epoch.parse().expect("an epoch"), n.parse().expect("a number"));
                    let hash =
                        frame["response"]["hash"].as_str().and_then(|hash| hash.parse().ok()).unwrap_or_default();
                    self.positions[topic] = at;
                    self.log.push(Line::Event { topic, at, hash });
                }
                (Some("reset"), None) => self.log.push(Line::Reset { topic }),
                (Some("error"), None) => is_open = false, // the owner of the topic could not be asked
                _ => {}
            }
        }
        is_open
    }
}
