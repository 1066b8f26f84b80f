//! The topics of a client: what each frame of the gateway means for them. A plain value; it knows no sockets and no clocks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde_json::{Map, Value, json};
use turnpike_topic::{Offset, Topic};

use crate::{Frame, Update};

/// Topics of one request.
const REQUEST: usize = 100;
/// Attempts to fill the same hole before it is reported.
const HOLES: u32 = 3;
/// Requests that wait for their answers.
const WAITING: usize = 1024;
/// Errors that no later attempt mends.
const FINAL: [&str; 5] = ["NOT_FOUND", "FORBIDDEN", "VALIDATION", "TOO_MANY_TOPICS", "INSUFFICIENT_SCOPE"];

/// Where a client begins to read a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// At the first event that the gateway has.
    Start,
    /// With the events from now on.
    Live,
    /// After this event.
    After(Offset),
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("start"),
            Self::Live => f.write_str("live"),
            Self::After(offset) => offset.fmt(f),
        }
    }
}

/// Text that is no [`Since`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("since is `start`, `live`, or an offset such as 1763700000000-42")]
pub struct InvalidSince;

impl FromStr for Since {
    type Err = InvalidSince;

    fn from_str(text: &str) -> Result<Self, InvalidSince> {
        match text {
            "start" => Ok(Self::Start),
            "live" => Ok(Self::Live),
            offset => offset.parse().map(Self::After).map_err(|_| InvalidSince),
        }
    }
}

#[derive(Default)]
pub(crate) struct Topics {
    followed: BTreeMap<Name, Followed>,
    next_id: u64,
    /// Requests of the caller that wait for an answer.
    waiting: BTreeSet<u64>,
}

/// The name of a topic.
type Name = String;

struct Followed {
    topic: Topic,
    /// Where to read if nothing was received yet.
    from: Since,
    last: Option<Offset>,
    /// After a reset: the next event may have any offset.
    any: bool,
    /// After a hole: events are ignored until the new subscription is confirmed.
    refilling: bool,
    /// Holes one after another at the same place.
    holes: u32,
}

/// What a frame causes.
#[derive(Default)]
pub(crate) struct Step {
    pub(crate) updates: Vec<Update>,
    /// Frames to send.
    pub(crate) requests: Vec<Value>,
    /// The topic's owner was not available: subscribe to it again after a pause.
    pub(crate) again: Option<Topic>,
    /// The heartbeat of the gateway in seconds, which its first frame tells.
    pub(crate) heartbeat: Option<u64>,
}

impl Topics {
    /// Follows a topic. Returns the request; `None`: the topic is followed already.
    pub(crate) fn follow(&mut self, topic: Topic, from: Since) -> Option<Value> {
        let name = topic.to_string();
        if self.followed.contains_key(&name) {
            return None;
        }
        let last = if let Since::After(offset) = from { Some(offset) } else { None };
        self.followed.insert(name, Followed { topic, from, last, any: false, refilling: false, holes: 0 });
        self.subscribe(topic)
    }

    /// Returns the request that ends a subscription.
    pub(crate) fn unfollow(&mut self, topic: Topic) -> Option<Value> {
        let name = topic.to_string();
        self.followed.remove(&name)?;
        Some(json!({ "action": "unsubscribe", "topic": name }))
    }

    pub(crate) fn offset(&self, topic: Topic) -> Option<Offset> {
        self.followed.get(&topic.to_string())?.last
    }

    /// The request for one topic, from where it is. `None`: the topic is not followed.
    pub(crate) fn subscribe(&mut self, topic: Topic) -> Option<Value> {
        let name = topic.to_string();
        let since = self.followed.get(&name)?.since();
        let id = self.id();
        Some(json!({ "action": "subscribe", "id": id, "topics": { name: since } }))
    }

    /// The requests for all topics, after a connection was opened.
    pub(crate) fn resume(&mut self) -> Vec<Value> {
        let all: Vec<_> = self
            .followed
            .iter_mut()
            .map(|(name, followed)| {
                followed.refilling = false;
                (name.clone(), Value::from(followed.since()))
            })
            .collect();
        all.chunks(REQUEST)
            .map(|some| json!({ "action": "subscribe", "id": self.id(), "topics": some.iter().cloned().collect::<Map<_, _>>() }))
            .collect()
    }

    /// Numbers a request of the caller. `None`: too many wait for their answers.
    pub(crate) fn ask(&mut self) -> Option<u64> {
        if self.waiting.len() >= WAITING {
            return None;
        }
        let id = self.id();
        self.waiting.insert(id);
        Some(id)
    }

    /// The connection is lost: no answer comes any more.
    pub(crate) fn disconnect(&mut self) -> Vec<Update> {
        std::mem::take(&mut self.waiting).into_iter().map(|id| Update::Unanswered { id }).collect()
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) fn receive(&mut self, frame: Frame) -> Step {
        let text = |field: &str| frame[field].as_str().unwrap_or_default();
        let event = text("event").to_owned();
        if event == "hello" {
            return Step { heartbeat: frame["heartbeat_interval"].as_u64(), ..Step::default() };
        }
        if let Some(id) = frame["id"].as_u64()
            && self.waiting.remove(&id)
        {
            return Step { updates: vec![Update::Answer { id, frame }], ..Step::default() };
        }
        let Some(followed) = self.followed.get_mut(text("topic")) else {
            let is_problem = event == "error" && frame["topic"].is_null();
            let updates = is_problem.then_some(Update::Problem { frame }).into_iter().collect();
            return Step { updates, ..Step::default() };
        };
        let topic = followed.topic;
        if let Ok(offset) = text("offset").parse() {
            return self.event(topic, offset, frame);
        }
        let head = || text("head").parse().ok();
        let update = match event.as_str() {
            "subscribed" => {
                followed.refilling = false;
                if followed.from == Since::Live && followed.last.is_none() {
                    // What comes next is after the head. A topic without events is read from its first one.
                    followed.last = head();
                    followed.from = Since::Start;
                }
                None
            }
            "unsubscribed" | "pong" => None,
            "reset" => {
                followed.any = true;
                Some(Update::Reset { topic, frame })
            }
            "caught_up" => Some(Update::CaughtUp { topic, head: head() }),
            "closed" => {
                self.followed.remove(&topic.to_string());
                Some(Update::Closed { topic })
            }
            "error" => match text("code") {
                "ALREADY_SUBSCRIBED" | "NOT_SUBSCRIBED" => None,
                code if FINAL.contains(&code) => {
                    let (code, detail) = (code.to_owned(), text("detail").to_owned());
                    self.followed.remove(&topic.to_string());
                    Some(Update::Refused { topic, code, detail })
                }
                _ => return Step { again: Some(topic), ..Step::default() },
            },
            _ => Some(Update::Notice { topic, frame }),
        };
        Step { updates: update.into_iter().collect(), ..Step::default() }
    }

    fn event(&mut self, topic: Topic, offset: Offset, frame: Frame) -> Step {
        let Some(followed) = self.followed.get_mut(&topic.to_string()) else { return Step::default() };
        if followed.refilling {
            return Step::default();
        }
        let mut updates = Vec::new();
        if let (false, Some(last)) = (followed.any, followed.last) {
            match order(last, offset) {
                Order::Old => return Step::default(),
                Order::Next => {}
                // An event did not arrive: ask for what follows the last one that did.
                Order::Hole if followed.holes < HOLES => {
                    followed.holes += 1;
                    followed.refilling = true;
                    let name = topic.to_string();
                    let unsubscribe = json!({ "action": "unsubscribe", "topic": name });
                    let subscribe = self.subscribe(topic);
                    let requests = std::iter::once(unsubscribe).chain(subscribe).collect();
                    return Step { requests, ..Step::default() };
                }
                // The gateway does not have it either.
                Order::Hole => {
                    let reset = json!({ "event": "reset", "topic": topic.to_string(), "reason": "hole", "head": offset.to_string() });
                    updates.push(Update::Reset { topic, frame: reset });
                }
            }
        }
        (followed.any, followed.holes, followed.last) = (false, 0, Some(offset));
        updates.push(Update::Event { topic, offset, frame });
        Step { updates, ..Step::default() }
    }
}

impl Followed {
    fn since(&self) -> String {
        self.last.map_or(self.from, Since::After).to_string()
    }
}

enum Order {
    Old,
    Next,
    Hole,
}

fn order(last: Offset, next: Offset) -> Order {
    match (next.epoch.cmp(&last.epoch), next.n.checked_sub(last.n)) {
        (std::cmp::Ordering::Less, _) | (std::cmp::Ordering::Equal, None | Some(0)) => Order::Old,
        (std::cmp::Ordering::Equal, Some(1)) => Order::Next,
        _ => Order::Hole,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: &str = "user:01890000-0000-7000-8000-000000000001";

    fn topic() -> Topic {
        NAME.parse().expect("a topic")
    }

    fn topics(from: Since) -> Topics {
        let mut topics = Topics::default();
        let request = topics.follow(topic(), from).expect("new");
        assert_eq!(request["topics"][NAME], from.to_string());
        assert!(topics.follow(topic(), from).is_none(), "it is followed already");
        topics
    }

    fn event(n: u64) -> Value {
        json!({ "event": "message", "topic": NAME, "offset": format!("7-{n}") })
    }

    fn numbers(topics: &mut Topics, frames: impl IntoIterator<Item = Value>) -> Vec<u64> {
        let updates = frames.into_iter().flat_map(|frame| topics.receive(frame).updates);
        updates
            .filter_map(|update| if let Update::Event { offset, .. } = update { Some(offset.n) } else { None })
            .collect()
    }

    #[test]
    fn events_come_once_and_the_position_is_the_last_one() {
        let mut topics = topics(Since::Start);
        assert_eq!(numbers(&mut topics, [1, 2, 2, 1, 3].map(event)), [1, 2, 3]);
        assert_eq!(topics.offset(topic()), Some(Offset { epoch: 7, n: 3 }));
        assert_eq!(topics.resume()[0]["topics"][NAME], "7-3", "a new connection continues there");
        assert_eq!(numbers(&mut topics, [3, 4].map(event)), [4]);
    }

    #[test]
    fn a_hole_is_filled_and_reported_only_if_it_stays() {
        let mut topics = topics(Since::Start);
        topics.receive(event(1));
        for _ in 0..HOLES {
            let step = topics.receive(event(3));
            assert_eq!(step.updates, []);
            assert_eq!(
                step.requests.iter().map(|one| one["action"].as_str()).collect::<Vec<_>>(),
                [Some("unsubscribe"), Some("subscribe")]
            );
            assert_eq!(step.requests[1]["topics"][NAME], "7-1");
            assert!(numbers(&mut topics, [event(4)]).is_empty(), "events that were on their way");
            topics.receive(json!({ "event": "subscribed", "topic": NAME, "head": "7-4" }));
        }
        let step = topics.receive(event(3));
        assert!(
            matches!(step.updates.as_slice(), [Update::Reset { frame, .. }, Update::Event { .. }] if frame["reason"] == "hole")
        );
        assert_eq!(numbers(&mut topics, [event(4)]), [4]);
    }

    #[test]
    fn after_a_reset_any_event_is_the_next_one() {
        let mut topics = topics(Since::After(Offset { epoch: 7, n: 9 }));
        let reset = json!({ "event": "reset", "topic": NAME, "reason": "epoch", "head": "8-1" });
        assert_eq!(topics.receive(reset.clone()).updates, [Update::Reset { topic: topic(), frame: reset }]);
        assert_eq!(numbers(&mut topics, [json!({ "event": "message", "topic": NAME, "offset": "8-1" })]), [1]);
        assert!(numbers(&mut topics, [event(10)]).is_empty(), "of the earlier epoch");
    }

    #[test]
    fn a_live_topic_continues_after_the_head_at_which_it_was_joined() {
        let mut topics = topics(Since::Live);
        topics.receive(json!({ "event": "subscribed", "topic": NAME, "head": "7-5" }));
        assert_eq!(topics.resume()[0]["topics"][NAME], "7-5", "nothing that came meanwhile is missed");
        let mut empty = Topics::default();
        empty.follow(topic(), Since::Live);
        empty.receive(json!({ "event": "subscribed", "topic": NAME, "head": null }));
        assert_eq!(empty.resume()[0]["topics"][NAME], "start");
    }

    #[test]
    fn answers_and_errors_reach_whom_they_concern() {
        let mut topics = topics(Since::Start);
        let id = topics.ask().expect("few wait");
        let published = json!({ "event": "published", "id": id, "topic": NAME });
        assert_eq!(topics.receive(published.clone()).updates, [Update::Answer { id, frame: published }]);
        let lost = topics.ask().expect("few wait");
        assert_eq!(topics.disconnect(), [Update::Unanswered { id: lost }]);
        let error = |code: &str| json!({ "event": "error", "id": 1, "topic": NAME, "code": code, "detail": "d" });
        assert_eq!(topics.receive(error("UPSTREAM_UNAVAILABLE")).again, Some(topic()), "asked again");
        let refused = Update::Refused { topic: topic(), code: "NOT_FOUND".into(), detail: "d".into() };
        assert_eq!(topics.receive(error("NOT_FOUND")).updates, [refused]);
        assert!(topics.resume().is_empty(), "it is not followed any more");
        let limited = json!({ "event": "error", "code": "RATE_LIMITED" });
        assert_eq!(topics.receive(limited.clone()).updates, [Update::Problem { frame: limited }]);
    }

    #[test]
    fn a_hundred_topics_are_one_request() {
        let mut topics = Topics::default();
        for n in 0..250 {
            topics.follow(format!("user:01890000-0000-7000-8000-{n:012}").parse().expect("a topic"), Since::Live);
        }
        let lengths: Vec<_> = topics.resume().iter().map(|one| one["topics"].as_object().map(Map::len)).collect();
        assert_eq!(lengths, [Some(100), Some(100), Some(50)]);
    }

    proptest! {
        /// Whatever arrives, events that are handed over rise, unless there was a reset between.
        #[test]
        fn events_never_go_back(frames in prop::collection::vec((1..4_u64, 1..6_u64, any::<bool>()), 0..60)) {
            let mut topics = topics(Since::Start);
            let mut last: Option<Offset> = None;
            for (epoch, n, reset) in frames {
                let frame = match reset {
                    true => json!({ "event": "reset", "topic": NAME, "reason": "epoch" }),
                    false => json!({ "event": "message", "topic": NAME, "offset": format!("{epoch}-{n}") }),
                };
                for update in topics.receive(frame).updates {
                    match update {
                        Update::Event { offset, .. } => {
                            prop_assert!(last.is_none_or(|last| offset.epoch == last.epoch && offset.n == last.n + 1));
                            last = Some(offset);
                        }
                        Update::Reset { .. } => last = None,
                        other => prop_assert!(false, "{:?}", other),
                    }
                }
            }
        }

        #[test]
        fn any_frame_is_received_without_panic(event: String, offset: String, code: String) {
            let mut topics = topics(Since::Start);
            topics.receive(json!({ "event": event, "topic": NAME, "offset": offset, "code": code, "id": 1, "head": offset }));
        }
    }
}
