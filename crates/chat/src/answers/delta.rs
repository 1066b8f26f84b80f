//! How pieces of an answer become events: pieces that arrive close together are published as one `delta`.

use std::time::Duration;

use tokio::time::Instant;

/// Shortest time between two deltas at the beginning of an answer. A model that sends 100 pieces a second is not delayed.
const SHORTEST: Duration = Duration::from_millis(8);
/// Longest time between two deltas.
const LONGEST: Duration = Duration::from_secs(1);
/// The time doubles after this many deltas, so that one long answer does not fill the history of its topic.
const DOUBLES_AFTER: u32 = 1000;
/// A delta is published at once when it has this many bytes.
const LARGE: usize = 16 << 10;

/// Pieces that are not yet published.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pub(super) content: String,
    pub(super) reasoning_content: String,
    deltas: u32,
    not_before: Option<Instant>,
}

impl Pieces {
    pub(super) fn push(&mut self, content: &str, reasoning_content: &str) {
        self.content.push_str(content);
        self.reasoning_content.push_str(reasoning_content);
    }

    /// When the pieces are to be published; `None` while there are none.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        match self.content.len() + self.reasoning_content.len() {
            0 => None,
            LARGE.. => Some(now),
            _ => Some(self.not_before.unwrap_or(now)),
        }
    }

    /// Takes the pieces: content and reasoning.
    pub(super) fn take(&mut self, now: Instant) -> (String, String) {
        let pause = SHORTEST.saturating_mul(1 << (self.deltas / DOUBLES_AFTER).min(7)).min(LONGEST);
        self.deltas += 1;
        self.not_before = Some(now + pause);
        (std::mem::take(&mut self.content), std::mem::take(&mut self.reasoning_content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_piece_is_due_at_once_and_the_next_after_a_pause() {
        let now = Instant::now();
        let mut pieces = Pieces::default();
        assert_eq!(pieces.due(now), None);
        pieces.push("a", "");
        assert_eq!(pieces.due(now), Some(now));
        assert_eq!(pieces.take(now), ("a".into(), String::new()));
        pieces.push("", "b");
        pieces.push("c", "");
        assert_eq!(pieces.due(now), Some(now + SHORTEST));
        pieces.push(&"x".repeat(LARGE), "");
        assert_eq!(pieces.due(now), Some(now), "a large delta does not wait");
    }

    #[test]
    fn a_long_answer_has_fewer_deltas() {
        let now = Instant::now();
        let mut pieces = Pieces::default();
        let mut at = now;
        for _ in 0..9_000 {
            pieces.push("a", "");
            at = pieces.due(at).expect("a piece");
            pieces.take(at);
        }
        pieces.push("a", "");
        assert_eq!(pieces.due(at), Some(at + LONGEST));
        assert!(at - now > Duration::from_secs(1900), "9000 deltas take more than half an hour: {:?}", at - now);
    }
}
