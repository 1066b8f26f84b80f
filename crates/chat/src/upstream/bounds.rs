//! The bounds for the parts of one request.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use jiff::Timestamp;
use turnpike_kit::Clock;

/// A bound that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Expired {
    #[error("no piece came within {0:?}")]
    Piece(Duration),
    #[error("the answer took longer than {0:?}")]
    Total(Duration),
}

/// A bound for the next piece and one for the whole. It does not lose time when the future that waits is dropped.
pub struct Bounds {
    clock: Clock,
    /// The whole answer, and when it must have ended.
    total: Duration,
    total_at: Timestamp,
    /// The next piece, and when it must be there.
    piece: Duration,
    piece_at: Timestamp,
    /// A timer for the nearer of both, or for an earlier one that has moved since: it is then set again. A piece thus costs no
    /// timer.
    timer: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Bounds {
    /// The first piece may take `piece` from now, and the whole `total` from its start.
    pub fn new(clock: &Clock, started: Timestamp, piece: Duration, total: Duration) -> Self {
        let (total_at, piece_at) = (after(started, total), after(clock.now(), piece));
        let timer = Box::pin(clock.sleep_until(total_at.min(piece_at)));
        Self { clock: clock.clone(), total, total_at, piece, piece_at, timer }
    }

    /// From now on a piece may take this long.
    pub fn allow(&mut self, piece: Duration) {
        let earlier = self.piece_at;
        (self.piece, self.piece_at) = (piece, after(self.clock.now(), piece));
        if self.piece_at < earlier {
            self.set();
        }
    }

    /// Ready when a bound has passed.
    pub fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<Expired> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = self.clock.now();
            if now >= self.total_at {
                return Poll::Ready(Expired::Total(self.total));
            }
            if now >= self.piece_at {
                return Poll::Ready(Expired::Piece(self.piece));
            }
            self.set();
        }
        Poll::Pending
    }

    /// Awaits a future within the bounds.
    pub async fn within<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Expired> {
        let mut work = std::pin::pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => self.poll_expired(cx).map(Err),
        })
        .await
    }

    fn set(&mut self) {
        self.timer = Box::pin(self.clock.sleep_until(self.total_at.min(self.piece_at)));
    }
}

fn after(now: Timestamp, duration: Duration) -> Timestamp {
    now.checked_add(duration).unwrap_or(Timestamp::MAX)
}

impl fmt::Debug for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounds").field("total", &self.total).field("piece", &self.piece).finish_non_exhaustive()
    }
}
