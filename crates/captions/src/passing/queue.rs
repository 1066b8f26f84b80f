//! What waits to be passed on.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Finals that wait. When more come, the oldest one is left out.
const MOST: usize = 100;
/// Why finals are left out: more come than can be passed on.
const BEHIND: &str = "BEHIND";

/// The finals that wait, the latest partial, and the counts.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    finals: VecDeque<Item>,
    partial: Option<Item>,
    /// A final is being passed on.
    busy: bool,
    /// No more finals follow.
    ended: bool,
    passed: Passed,
}

/// A text of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) segment: u64,
    pub(crate) text: String,
    pub(crate) is_final: bool,
}

/// The counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) done: u64,
    pub(crate) missed: u64,
    pub(crate) waiting: u64,
    /// The code of the latest failure; empty: the latest attempt succeeded.
    pub(crate) problem: String,
}

impl Queue {
    /// A queue of a session of which so many finals were passed on, and so many never will be.
    pub(crate) fn resumed(&self, done: u64, missed: u64) {
        let mut state = self.state.lock();
        (state.passed.done, state.passed.missed) = (done, missed);
    }

    pub(crate) fn give(&self, segment: u64, text: String) {
        let mut state = self.state.lock();
        if state.partial.as_ref().is_some_and(|partial| partial.segment <= segment) {
            state.partial = None;
        }
        if state.finals.len() == MOST {
            state.finals.pop_front();
            state.passed.missed += 1;
            BEHIND.clone_into(&mut state.passed.problem);
        }
        state.finals.push_back(Item { segment, text, is_final: true });
        drop(state);
        self.changed.notify_waiters();
    }

    /// Replaces an earlier partial.
    pub(crate) fn give_partial(&self, segment: u64, text: String) {
        self.state.lock().partial = Some(Item { segment, text, is_final: false });
        self.changed.notify_waiters();
    }

    /// What waits is still passed on.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        (state.ended, state.partial) = (true, None);
        drop(state);
        self.changed.notify_waiters();
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.state.lock().ended
    }

    /// The next text, finals before the partial. `None`: everything is passed on, and nothing follows.
    pub(crate) async fn next(&self) -> Option<Item> {
        self.when(|state| {
            state.busy = !state.finals.is_empty();
            match state.finals.pop_front().or_else(|| state.partial.take()) {
                Some(item) => Some(Some(item)),
                None => state.ended.then_some(None),
            }
        })
        .await
    }

    /// Waits until no final waits or is being passed on, or until passing on has failed.
    pub(crate) async fn settled(&self) {
        self.when(|state| (!state.busy && state.finals.is_empty() || !state.passed.problem.is_empty()).then_some(()))
            .await;
    }

    pub(crate) async fn ended(&self) {
        self.when(|state| state.ended.then_some(())).await;
    }

    async fn when<T>(&self, mut found: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(found) = found(&mut self.state.lock()) {
                return found;
            }
            changed.await;
        }
    }

    pub(crate) fn done(&self) {
        let mut state = self.state.lock();
        (state.busy, state.passed.done) = (false, state.passed.done + 1);
        state.passed.problem.clear();
        drop(state);
        self.changed.notify_waiters();
    }

    /// The final in work was replaced by a newer text.
    pub(crate) fn replaced(&self) {
        self.state.lock().busy = false;
        self.changed.notify_waiters();
    }

    /// What waits is left out.
    pub(crate) fn give_up(&self) {
        let mut state = self.state.lock();
        state.passed.missed += state.finals.len() as u64 + u64::from(state.busy);
        (state.busy, state.partial) = (false, None);
        state.finals.clear();
        drop(state);
        self.changed.notify_waiters();
    }

    pub(crate) fn missed(&self) {
        let mut state = self.state.lock();
        (state.busy, state.passed.missed) = (false, state.passed.missed + 1);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Notes a failure, until something is passed on.
    pub(crate) fn failed(&self, code: &str) {
        code.clone_into(&mut self.state.lock().passed.problem);
        self.changed.notify_waiters();
    }

    pub(crate) fn passed(&self) -> Passed {
        let state = self.state.lock();
        let waiting = state.finals.len() as u64 + u64::from(state.busy);
        Passed { waiting, ..state.passed.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn finals_come_before_the_latest_partial_and_the_oldest_are_left_out() {
        let queue = Queue::default();
        queue.give_partial(1, "a".into());
        queue.give_partial(1, "ab".into());
        assert_eq!(queue.next().await.map(|item| (item.text, item.is_final)), Some(("ab".into(), false)));
        queue.give_partial(2, "c".into());
        (1..=102).for_each(|segment| queue.give(segment, segment.to_string()));
        let passed = queue.passed();
        assert_eq!((passed.waiting, passed.missed, passed.problem.as_str()), (100, 2, BEHIND));
        queue.give_partial(103, "d".into());
        for segment in 3..=102 {
            assert_eq!(queue.next().await.map(|item| (item.segment, item.is_final)), Some((segment, true)));
            queue.done();
        }
        assert_eq!(
            queue.next().await.map(|item| item.text),
            Some("d".into()),
            "the partial of segment 2 is superseded"
        );
        queue.settled().await;
        queue.end();
        assert_eq!(queue.next().await, None);
        assert_eq!(queue.passed(), Passed { done: 100, missed: 2, waiting: 0, problem: String::new() });
    }
}
