//! The offline check of a run: what was published, compared with what each client logged.

use std::collections::{BTreeMap, HashMap};

/// A number that identifies an event's content.
pub(crate) type Hash = u64;

/// Epoch and number of an event.
pub(crate) type Position = (u64, u64);

/// The events that were accepted, by topic.
pub(crate) type Published = HashMap<usize, BTreeMap<Position, Hash>>;

/// One line in the log of a client, in the order in which it received the frames.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Line {
    Event {
        topic: usize,
        at: Position,
        hash: Hash,
    },
    /// The client received a `reset`: events of the topic may be missing.
    Reset {
        topic: usize,
    },
}

/// The result of a run without a violation.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Summary {
    pub(crate) deliveries: u64,
    pub(crate) resets: u64,
}

/// Every client, which follows every topic from its start, must get every published event of each topic exactly once and in order. A
/// gap, or a return to earlier events, must be reported by a reset before it. Returns the first violation as a sentence.
pub(crate) fn check(published: &Published, logs: &[Vec<Line>]) -> Result<Summary, String> {
    let mut summary = Summary::default();
    for (client, log) in logs.iter().enumerate() {
        let mut last: HashMap<usize, Option<Position>> = HashMap::new();
        let mut reset: HashMap<usize, bool> = HashMap::new();
        for line in log {
            match *line {
                Line::Reset { topic } => {
                    reset.insert(topic, true);
                    summary.resets += 1;
                }
                Line::Event { topic, at, hash } => {
                    let fault = |what: &str| Err(format!("client {client}, topic {topic}, event {at:?}: {what}"));
                    let Some(events) = published.get(&topic) else { return fault("the topic has no events") };
                    match events.get(&at) {
                        None => return fault("was not published"),
                        Some(content) if *content != hash => return fault("has another content"),
                        Some(_) => {}
                    }
                    let before = last.insert(topic, Some(at)).flatten();
                    let expected = match before {
                        None => events.keys().next(),
                        Some(before) => events.range(before..).nth(1).map(|(next, _)| next),
                    };
                    if !reset.insert(topic, false).unwrap_or_default() && expected != Some(&at) {
                        return fault(&format!("{expected:?} was expected after {before:?}, and no reset came"));
                    }
                    summary.deliveries += 1;
                }
            }
        }
        for (topic, events) in published {
            let (got, end) = (last.get(topic).copied().flatten(), events.keys().next_back().copied());
            if got != end {
                return Err(format!("client {client}, topic {topic}: the log ends at {got:?}, the topic at {end:?}"));
            }
        }
    }
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published() -> Published {
        let topic = |hash| (1..=50).map(|n| ((7, n), hash + n)).collect();
        [(0, topic(100)), (1, topic(200))].into()
    }

    /// A log in which the topics take turns.
    fn log() -> Vec<Line> {
        let line = |(n, topic): (u64, usize)| Line::Event { topic, at: (7, n), hash: 100 * (topic as u64 + 1) + n };
        (1..=50).flat_map(|n| [(n, 0), (n, 1)]).map(line).collect()
    }

    #[test]
    fn a_whole_log_is_right() {
        let logs = [log(), log()];
        assert_eq!(check(&published(), &logs), Ok(Summary { deliveries: 200, resets: 0 }));
    }

    #[test]
    fn a_lost_a_repeated_and_an_exchanged_event_are_found_wherever_they_are() {
        for at in 0..log().len() {
            let mut lost = log();
            lost.remove(at);
            assert!(check(&published(), &[log(), lost]).is_err(), "lost at {at}");
            for again in at + 1..=log().len() {
                let mut repeated = log();
                repeated.insert(again, repeated[at].clone());
                assert!(check(&published(), &[repeated]).is_err(), "{at} repeated at {again}");
            }
            if at + 2 < log().len() {
                let mut exchanged = log();
                exchanged.swap(at, at + 2); // of the same topic
                assert!(check(&published(), &[exchanged]).is_err(), "exchanged at {at}");
            }
        }
    }

    #[test]
    fn a_wrong_content_and_an_event_that_was_not_published_are_found() {
        for wrong in [
            Line::Event { topic: 0, at: (7, 50), hash: 1 },
            Line::Event { topic: 0, at: (7, 51), hash: 151 },
            Line::Event { topic: 2, at: (7, 1), hash: 1 },
        ] {
            let mut log = log();
            log.push(wrong.clone());
            assert!(check(&published(), &[log]).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_reported_gap_is_no_violation() {
        let mut reported = log();
        reported.splice(40..60, [Line::Reset { topic: 0 }, Line::Reset { topic: 1 }]);
        assert_eq!(check(&published(), &[reported]), Ok(Summary { deliveries: 80, resets: 2 }));
        let mut other_topic = log();
        other_topic.splice(40..60, [Line::Reset { topic: 0 }]);
        assert!(check(&published(), &[other_topic]).is_err(), "the reset of another topic reports nothing");
    }
}
