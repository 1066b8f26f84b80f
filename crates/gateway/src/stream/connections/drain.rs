//! The end of all connections when the process stops. They are closed one after the other, so that their clients do not connect to
//! the remaining gateways all at once. Until its turn, a connection is served as before.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use super::{Connections, Handle};
use crate::stream::ending::Ending;

/// The pause between two batches.
const STEP: Duration = Duration::from_millis(50);
/// Few connections are closed faster than over the whole window: one of them does not delay the stop of a process.
const AT_LEAST: usize = 10;

impl Connections {
    /// Refuses new connections, and ends the present ones over this time at most.
    pub(super) async fn drain(&self, window: Duration) {
        let handles = self.refuse_new();
        let mut steps = interval(STEP);
        // After a pause of the process, the batches are not made up for.
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for batch in handles.chunks(batch(handles.len(), window)) {
            steps.tick().await;
            batch.iter().for_each(|handle| handle.end(Ending::Stopping));
        }
        self.0.drained.cancel();
    }

    fn refuse_new(&self) -> Vec<Arc<Handle>> {
        let mut table = self.0.table.lock();
        table.stopping = true;
        table.handles.values().cloned().collect()
    }
}

/// How many connections are closed in each step.
fn batch(connections: usize, window: Duration) -> usize {
    let steps = usize::try_from(window.as_millis() / STEP.as_millis()).unwrap_or(usize::MAX).max(1);
    if window.is_zero() { connections.max(1) } else { connections.div_ceil(steps).max(AT_LEAST) }
}

#[cfg(test)]
mod tests {
    use turnpike_kit::Clock;
    use turnpike_topic::SessionId;
    use uuid::Uuid;

    use super::*;
    use crate::stream::connections::{Origin, tests::caller};

    const WINDOW: Duration = Duration::from_secs(5);

    #[test]
    fn the_window_bounds_the_whole_and_few_connections_take_less() {
        assert_eq!(batch(15_000, WINDOW), 150);
        assert_eq!(batch(15_001, WINDOW), 151, "no step is added");
        assert_eq!(batch(40, WINDOW), AT_LEAST, "four steps");
        assert_eq!((batch(3, Duration::ZERO), batch(0, WINDOW)), (3, AT_LEAST), "at once, and never zero");
    }

    /// The number of connections that end in each interval of 500 ms.
    #[tokio::test(start_paused = true)]
    async fn connections_end_evenly_over_the_window_and_new_ones_are_refused() {
        let connections = Connections::new(0, Clock::system(), |_| Ok(()));
        let caller = caller(SessionId::from(Uuid::now_v7()));
        let register = || connections.register(&caller, Origin::unknown());
        let open: Vec<_> = (0..5000).map(|_| register().expect("a registration")).collect();
        let draining = connections.clone();
        let drain = async move { draining.drain(WINDOW).await };
        tokio::pin!(drain);
        let (mut ended, mut counts) = (0, Vec::new());
        while ended < open.len() {
            let _ = tokio::time::timeout(Duration::from_millis(500), &mut drain).await;
            let now = open.iter().filter(|one| one.handle.ending() == Some(Ending::Stopping)).count();
            counts.push(now - ended);
            ended = now;
            assert_eq!(register().err(), Some(Ending::Stopping));
        }
        assert!(counts.len() >= 10 && counts.iter().all(|count| *count <= 550), "{counts:?}");
    }
}
