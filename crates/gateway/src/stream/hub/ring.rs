//! The recent frames of a topic. A reader that is only slightly behind takes frames from here and does not read history.

use std::{
    collections::VecDeque,
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use turnpike_topic::Offset;

use super::frame::{Frame, join};
use crate::stream::format::Format;

const RING_FRAMES: usize = 256;
const RING_BYTES: usize = 256 << 10;
/// The most that one run has, unless a single frame is longer.
const RUN_BYTES: usize = 64 << 10;

/// The complete WebSocket frames of consecutive events in one piece of memory, shared by all readers at the same position.
#[derive(Clone)]
pub(crate) struct Run {
    /// The serial number of the ring that has these frames.
    pub(crate) ring: NonZeroU64,
    pub(crate) format: Format,
    /// The `n` of the event before the first frame.
    pub(crate) from: u64,
    /// The `n` of the last frame.
    pub(crate) to: u64,
    pub(crate) bytes: Bytes,
    /// Something follows: further frames, or the end of the topic.
    pub(crate) more: bool,
}

/// Every frame after `base`, without a gap.
pub(super) struct Ring {
    /// Unique in this process. After a reset, the topic has a ring with another number.
    pub(super) serial: NonZeroU64,
    /// The follower has reported the head of the topic, or that the topic does not exist. Until then, readers wait.
    pub(super) ready: bool,
    /// The topic's epoch; `None` while the topic does not exist.
    pub(super) epoch: Option<u64>,
    /// The `n` of the event before the first frame.
    pub(super) base: u64,
    pub(super) frames: VecDeque<Arc<Frame>>,
    bytes: usize,
    /// The run that was joined last, for each format.
    joined: [Option<Run>; Format::ALL.len()],
    /// The topic is closed: no frame follows.
    pub(super) closed: bool,
    /// The epoch that lost events in the latest reset. It can equal the present epoch, for example if Redis lost only the
    /// newest events: the remaining ones keep their epoch until the next publish begins a new one.
    pub(super) lost: Option<u64>,
}

impl Ring {
    pub(super) fn new() -> Self {
        static RINGS: AtomicU64 = AtomicU64::new(0);
        Self {
            serial: NonZeroU64::MIN.saturating_add(RINGS.fetch_add(1, Ordering::Relaxed)),
            ready: false,
            epoch: None,
            base: 0,
            frames: VecDeque::new(),
            bytes: 0,
            joined: Format::ALL.map(|_| None),
            closed: false,
            lost: None,
        }
    }

    /// An empty ring after a reset of the topic. `lost` is the epoch that lost events.
    pub(super) fn after_reset(ready: bool, lost: Option<u64>) -> Self {
        Self { ready, lost, ..Self::new() }
    }

    pub(super) fn push(&mut self, frame: Arc<Frame>) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
        while self.frames.len() > RING_FRAMES || (self.bytes > RING_BYTES && self.frames.len() > 1) {
            if let Some(old) = self.frames.pop_front() {
                self.bytes -= old.len();
                self.base = old.offset.n;
            }
        }
    }

    pub(super) fn head(&self) -> Option<Offset> {
        let n = self.head_n();
        self.epoch.map(|epoch| Offset { epoch, n })
    }

    fn head_n(&self) -> u64 {
        self.frames.back().map_or(self.base, |frame| frame.offset.n)
    }

    /// The index of the frame after `after`, which is not before `base`.
    pub(super) fn index(&self, after: u64) -> usize {
        // The ring has no gap, so the difference is the index.
        usize::try_from(after.saturating_sub(self.base)).unwrap_or(usize::MAX)
    }

    /// The frames after `after`, which is at least `base` and less than the head, as far as they fit into one run. The run is
    /// joined once for all readers at this position.
    pub(super) fn run(&mut self, after: u64, format: Format) -> Run {
        let (head, skip) = (self.head_n(), self.index(after));
        if after + 1 == head {
            return Run {
                ring: self.serial,
                format,
                from: after,
                to: head,
                bytes: self.frames[skip].websocket(format).clone(),
                more: self.closed,
            };
        }
        // A run that ends before the head was full: newer frames do not change it.
        let joined = match self.joined[format as usize].take() {
            Some(last) if last.from == after && (last.to == head || !self.has_room(&last, skip, format)) => last,
            _ => self.join(after, skip, format),
        };
        let run = Run { more: joined.to < head || self.closed, ..joined.clone() };
        self.joined[format as usize] = Some(joined);
        run
    }

    /// Whether the frame after a joined run, which begins at this index, fits into the run.
    fn has_room(&self, joined: &Run, skip: usize, format: Format) -> bool {
        let next = skip + usize::try_from(joined.to - joined.from).unwrap_or(usize::MAX);
        let fits = |next: &Arc<Frame>| joined.bytes.len() + next.websocket(format).len() <= RUN_BYTES;
        self.frames.get(next).is_some_and(fits)
    }

    fn join(&self, from: u64, skip: usize, format: Format) -> Run {
        let (mut bytes, mut count) = (0, 0);
        for frame in self.frames.range(skip..) {
            bytes += frame.websocket(format).len();
            if count > 0 && bytes > RUN_BYTES {
                break;
            }
            count += 1;
        }
        let frames = self.frames.range(skip..skip + count);
        let to = frames.clone().next_back().map_or(from, |frame| frame.offset.n);
        Run { ring: self.serial, format, from, to, bytes: join(frames, format), more: false }
    }
}
