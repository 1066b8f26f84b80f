//! The order of events that every reader gets, from the archive and from the topic: within an epoch `n` grows by one, and between
//! two events that do not continue each other there is a reset.

use turnpike_topic::Offset;

pub(super) struct Order<T> {
    offset: fn(&T) -> Offset,
    /// The latest event, unless a reset followed it.
    last: Option<Offset>,
    /// Events that are delivered after the next reset.
    held: Vec<T>,
}

impl<T> Order<T> {
    /// `last`: the event up to which the reader has every event. `None`: any event may come first.
    pub(super) const fn new(last: Option<Offset>, offset: fn(&T) -> Offset) -> Self {
        Self { offset, last, held: Vec::new() }
    }

    pub(super) fn take_held(&mut self) -> Option<Vec<T>> {
        (!self.held.is_empty()).then(|| std::mem::take(&mut self.held))
    }

    /// Whether the event after this one may be delivered next.
    pub(super) fn is_at(&self, offset: Offset) -> bool {
        self.held.is_empty() && self.last.is_none_or(|last| last == offset)
    }

    /// Events up to this one were delivered in order.
    pub(super) const fn advance(&mut self, last: Offset) {
        self.last = Some(last);
    }

    /// Called when a reset is reported. Any event may follow it.
    pub(super) const fn reset(&mut self) {
        self.last = None;
    }

    /// Returns the events that may be delivered now, and holds the rest. If it returns none, a reset must be reported first.
    pub(super) fn pass(&mut self, mut events: Vec<T>) -> Vec<T> {
        let continues = |event: &&T| {
            let at = (self.offset)(event);
            let fits = self.last.is_none_or(|last| at.epoch == last.epoch && at.n == last.n + 1);
            if fits {
                self.last = Some(at);
            }
            fits
        };
        let count = events.iter().take_while(continues).count();
        self.held = events.split_off(count);
        events
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Delivered {
        Event(Offset),
        Reset,
    }

    /// What a reader receives, as from `Reader::take`.
    fn delivered(since: Option<Offset>, batches: &[Vec<Offset>]) -> Vec<Delivered> {
        let mut order = Order::new(since, |offset: &Offset| *offset);
        let mut delivered = Vec::new();
        for batch in batches {
            let mut next = Some(batch.clone());
            while let Some(batch) = next.filter(|batch| !batch.is_empty()) {
                let passed = order.pass(batch);
                if passed.is_empty() {
                    order.reset();
                    delivered.push(Delivered::Reset);
                }
                delivered.extend(passed.into_iter().map(Delivered::Event));
                next = order.take_held();
            }
        }
        delivered
    }

    fn any_offset() -> impl Strategy<Value = Offset> {
        (1..4_u64, 1..6_u64).prop_map(|(epoch, n)| Offset { epoch, n })
    }

    proptest! {
        #[test]
        fn between_two_epochs_there_is_a_reset(
            since in proptest::option::of(any_offset()),
            batches in proptest::collection::vec(proptest::collection::vec(any_offset(), 0..6), 0..8),
        ) {
            let delivered = delivered(since, &batches);
            let events: Vec<_> = delivered.iter().filter_map(|item| if let Delivered::Event(at) = item { Some(*at) } else { None }).collect();
            prop_assert_eq!(events, batches.concat(), "every event is delivered, in order");
            let mut last = since;
            for (at, what) in delivered.iter().enumerate() {
                match *what {
                    Delivered::Event(now) => {
                        if let Some(last) = last {
                            prop_assert_eq!(now, Offset { n: last.n + 1, ..last });
                        }
                        last = Some(now);
                    }
                    Delivered::Reset => {
                        let next = delivered.get(at + 1);
                        let Some(Delivered::Event(next)) = next else { panic!("a reset before {next:?}") };
                        let last = last.take().expect("no reset without an event before it");
                        prop_assert_ne!(*next, Offset { n: last.n + 1, ..last }, "no reset without a reason");
                    }
                }
            }
        }
    }
}
