//! Following a topic: subscribed first, then history, then live; whatever is missed is read again.

use std::{collections::VecDeque, future::pending, pin::Pin};

use tokio::time::{Duration, sleep};
use turnpike_topic::{Offset, Topic};

use crate::{
    Bus, Page, Record, ResetReason,
    cursor::{Cursor, Next},
    feeds::{Signal, Subscription},
};

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// With the topic's first event.
    Start,
    /// With the event after this one.
    After(Offset),
    /// With the first event that is published from now on.
    Live,
}

/// What a follower gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Delivery {
    /// The next event. After another record of the same epoch it has the next number, unless a reset came in between.
    Record(Record),
    /// Everything that was there when the follower looked has been delivered. Said once at the beginning, and once after
    /// each reset.
    CaughtUp {
        /// The latest event; `None` while there is no such topic.
        head: Option<Offset>,
    },
    /// What follows does not continue what was delivered before: it begins with the first event that is kept.
    Reset {
        /// Why.
        reason: ResetReason,
        /// The latest event; `None` if the topic is gone. Then its next life is waited for.
        head: Option<Offset>,
    },
    /// The final event has been delivered. Said once; nothing comes after it.
    Closed,
}

/// One reader of one topic. It never fails: while the backend is away it waits, then continues where it was.
///
/// Dropping it ends the following; when the last follower of a topic in this process goes, so does the subscription.
pub struct Follower {
    topic: Topic,
    bus: Bus,
    /// `None` once the topic is closed.
    subscription: Option<Subscription>,
    cursor: Cursor,
    ready: VecDeque<Delivery>,
    step: Step,
}

enum Step {
    /// Until the subscription is confirmed, history may not be read: what comes between the two would be lost.
    Confirming,
    /// The read lives here and not in a future that a `select!` may drop at any time.
    Reading(Pin<Box<dyn Future<Output = Page> + Send>>),
    Listening,
    Ended,
}

/// Records a page; a follower holds at most one.
const PAGE: usize = 128;

/// Between attempts to read a history that cannot be read. An attempt itself waits for the backend to come back.
const PAUSE: Duration = Duration::from_millis(100);

impl Follower {
    pub(crate) fn new(bus: Bus, topic: Topic, from: From) -> Self {
        let subscription = bus.join(topic);
        let cursor = match from {
            From::Start => Cursor::start(),
            From::After(offset) => Cursor::after(offset),
            From::Live => Cursor::head(),
        };
        let confirmed = subscription.is_confirmed();
        let mut follower = Self {
            topic,
            bus,
            subscription: Some(subscription),
            cursor,
            ready: VecDeque::new(),
            step: Step::Confirming,
        };
        if confirmed {
            follower.proceed(Next::Read);
        }
        follower
    }

    /// What is followed.
    pub const fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Waits for the next thing to know. Cancel-safe: what a dropped call did not return, the next one returns.
    ///
    /// Nothing comes after [`Delivery::Closed`]: then this waits forever.
    pub async fn next(&mut self) -> Delivery {
        loop {
            if let Some(delivery) = self.ready.pop_front() {
                return delivery;
            }
            let next = match &mut self.step {
                Step::Confirming => match self.signal().await {
                    Signal::Look => Next::Read,
                    Signal::Record(_) | Signal::Head(_) => continue, // the history has it too
                },
                Step::Reading(read) => {
                    let page = read.await;
                    self.cursor.page(page, &mut self.ready)
                }
                Step::Listening => match self.signal().await {
                    Signal::Record(bytes) => self.cursor.live(bytes, &mut self.ready),
                    Signal::Head(head) => self.cursor.told(head),
                    Signal::Look => Next::Read,
                },
                Step::Ended => pending().await,
            };
            if let (Some((at, mark)), Some(subscription)) = (self.cursor.has_read(), &self.subscription) {
                subscription.has_read(at, mark);
            }
            self.proceed(next);
        }
    }

    async fn signal(&mut self) -> Signal {
        match &mut self.subscription {
            Some(subscription) => subscription.next().await,
            None => pending().await,
        }
    }

    fn proceed(&mut self, next: Next) {
        self.step = match next {
            Next::Wait => Step::Listening,
            Next::Read => {
                let (after, limit) = self.cursor.wants(PAGE);
                let lost = self.cursor.take_lost();
                Step::Reading(Box::pin(read(self.bus.clone(), self.topic, after, limit, lost)))
            }
            Next::End => {
                self.subscription = None;
                Step::Ended
            }
        };
    }
}

/// `lost` is an epoch of which events were lost.
async fn read(bus: Bus, topic: Topic, after: Option<Offset>, limit: usize, lost: Option<u64>) -> Page {
    // After an outage everybody reads at once: their pages must not fill the memory, nor the publishers' connection.
    let _turn = bus.turn_to_read().await;
    if let Some(epoch) = lost {
        while bus.mark_lost(&topic, epoch).await.is_err() {
            sleep(PAUSE).await;
        }
    }
    loop {
        match bus.read(&topic, after, limit).await {
            Ok(page) => return page,
            Err(_) => sleep(PAUSE).await,
        }
    }
}
