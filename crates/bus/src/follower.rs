//! Following a topic: a follower first makes sure that signals arrive, then reads history, then takes live records. A live record
//! that it misses is read from history.

use std::{collections::VecDeque, future::pending, pin::Pin};

use tokio::time::{Duration, sleep};
use turnpike_topic::{Offset, Topic};

use crate::{
    bus::Bus,
    delivery::{Delivery, From},
    followed::{Signal, Signals},
    history::Page,
    position::{Next, Position},
};

/// Follows one topic. It never fails: during an outage of the backend it waits, then continues at its position.
///
/// When the last follower of a topic in this process is dropped, the process leaves the topic's channel.
pub struct Follower {
    topic: Topic,
    bus: Bus,
    /// `None` once the topic is closed.
    signals: Option<Signals>,
    position: Position,
    ready: VecDeque<Delivery>,
    step: Step,
}

enum Step {
    /// Waiting until signals are sure to arrive. History is read only after that: otherwise an event that is published in between
    /// would be missed.
    Confirming,
    /// The read is kept here and not in the future of [`Follower::next`], which a `select!` may drop at any time.
    Reading(Pin<Box<dyn Future<Output = Page> + Send>>),
    Live,
    Ended,
}

/// Records per page; a follower holds at most one page.
const PAGE: usize = 128;

/// Pause after a failed attempt to read history. Each attempt waits for the backend until its own timeout.
const RETRY_DELAY: Duration = Duration::from_millis(100);

impl Bus {
    /// Follows a topic. Returns at once: the follower connects, waits and tries again while it is polled.
    pub fn follow(&self, topic: Topic, from: From) -> Follower {
        Follower::new(self.clone(), topic, from)
    }
}

impl Follower {
    fn new(bus: Bus, topic: Topic, from: From) -> Self {
        let signals = bus.signals(topic);
        let position = match from {
            From::Start => Position::start(),
            From::After(offset) => Position::after(offset),
            From::Live => Position::head(),
        };
        let confirmed = signals.are_confirmed();
        let mut follower =
            Self { topic, bus, signals: Some(signals), position, ready: VecDeque::new(), step: Step::Confirming };
        if confirmed {
            follower.proceed(Next::Read);
        }
        follower
    }

    /// The topic that is followed.
    pub const fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Waits for the next delivery. Cancel-safe: a delivery that a dropped call did not return is returned by the next call.
    ///
    /// After [`Delivery::Closed`] this waits forever.
    pub async fn next(&mut self) -> Delivery {
        loop {
            if let Some(delivery) = self.ready.pop_front() {
                return delivery;
            }
            let next = match &mut self.step {
                Step::Confirming => match self.signal().await {
                    Signal::ReadHistory => Next::Read,
                    Signal::Record(_) | Signal::Head(_) => continue, // history has the event too
                },
                Step::Reading(read) => {
                    let page = read.await;
                    self.position.take_page(page, &mut self.ready)
                }
                Step::Live => match self.signal().await {
                    Signal::Record(bytes) => self.position.take_live(bytes, &mut self.ready),
                    Signal::Head(head) => self.position.compare_head(head),
                    Signal::ReadHistory => Next::Read,
                },
                Step::Ended => pending().await,
            };
            if let (Some((at, fingerprint)), Some(signals)) = (self.position.newest_read(), &self.signals) {
                signals.has_read(at, fingerprint);
            }
            self.proceed(next);
        }
    }

    async fn signal(&mut self) -> Signal {
        match &mut self.signals {
            Some(signals) => signals.next().await,
            None => pending().await,
        }
    }

    fn proceed(&mut self, next: Next) {
        self.step = match next {
            Next::Wait => Step::Live,
            Next::Read => {
                let (after, limit) = self.position.next_page(PAGE);
                let lost = self.position.take_lost();
                Step::Reading(Box::pin(read(self.bus.clone(), self.topic, after, limit, lost)))
            }
            Next::End => {
                self.signals = None;
                Step::Ended
            }
        };
    }
}

/// Reads a page, and tries again until that succeeds. `lost` is an epoch that lost events: the topic is first marked as having
/// lost it.
async fn read(bus: Bus, topic: Topic, after: Option<Offset>, limit: usize, lost: Option<u64>) -> Page {
    // After an outage all followers read at once. The permit limits how many do, so that their pages neither fill the memory nor
    // delay publishes on the same connection.
    let _permit = bus.read_permit().await;
    if let Some(epoch) = lost {
        while bus.mark_lost(&topic, epoch).await.is_err() {
            sleep(RETRY_DELAY).await;
        }
    }
    loop {
        match bus.read(&topic, after, limit).await {
            Ok(page) => return page,
            Err(_) => sleep(RETRY_DELAY).await,
        }
    }
}
