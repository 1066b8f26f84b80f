//! The order that every reader is promised, whatever its events come from: within an epoch `n` grows by one, and between two
//! events that do not continue each other the reader is told of a reset.

use turnpike_topic::Offset;

pub(super) struct Order<T> {
    offset: fn(&T) -> Offset,
    /// The latest event, unless a reset was told after it.
    last: Option<Offset>,
    /// Events that come after a reset.
    held: Vec<T>,
}

impl<T> Order<T> {
    /// The reader has everything up to `last`, if that is given.
    pub(super) const fn new(last: Option<Offset>, offset: fn(&T) -> Offset) -> Self {
        Self { offset, last, held: Vec::new() }
    }

    /// Events that wait for their turn.
    pub(super) fn take_held(&mut self) -> Option<Vec<T>> {
        (!self.held.is_empty()).then(|| std::mem::take(&mut self.held))
    }

    /// The reader is told of a reset: any event may come next.
    pub(super) const fn reset(&mut self) {
        self.last = None;
    }

    /// The events that may be handed over now. The rest is held; if no event may be handed over, the reader must be told of a
    /// reset first.
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
    enum Told {
        Event(Offset),
        Reset,
    }

    /// What a reader is told, as `Source::take` tells it.
    fn told(since: Option<Offset>, batches: &[Vec<Offset>]) -> Vec<Told> {
        let mut order = Order::new(since, |offset: &Offset| *offset);
        let mut told = Vec::new();
        for batch in batches {
            let mut next = Some(batch.clone());
            while let Some(batch) = next.filter(|batch| !batch.is_empty()) {
                let passed = order.pass(batch);
                if passed.is_empty() {
                    order.reset();
                    told.push(Told::Reset);
                }
                told.extend(passed.into_iter().map(Told::Event));
                next = order.take_held();
            }
        }
        told
    }

    fn any_offset() -> impl Strategy<Value = Offset> {
        (1..4_u64, 1..6_u64).prop_map(|(epoch, n)| Offset { epoch, n })
    }

    proptest! {
        #[test]
        fn between_two_epochs_stands_a_reset(
            since in proptest::option::of(any_offset()),
            batches in proptest::collection::vec(proptest::collection::vec(any_offset(), 0..6), 0..8),
        ) {
            let told = told(since, &batches);
            let events: Vec<_> = told.iter().filter_map(|t| if let Told::Event(at) = t { Some(*at) } else { None }).collect();
            prop_assert_eq!(events, batches.concat(), "every event is handed over, in its order");
            let mut last = since;
            for (at, what) in told.iter().enumerate() {
                match *what {
                    Told::Event(now) => {
                        if let Some(last) = last {
                            prop_assert_eq!(now, Offset { n: last.n + 1, ..last });
                        }
                        last = Some(now);
                    }
                    Told::Reset => {
                        let next = told.get(at + 1);
                        let Some(Told::Event(next)) = next else { panic!("a reset before {next:?}") };
                        let last = last.take().expect("no reset without an event before it");
                        prop_assert_ne!(*next, Offset { n: last.n + 1, ..last }, "no reset without a reason");
                    }
                }
            }
        }
    }
}
