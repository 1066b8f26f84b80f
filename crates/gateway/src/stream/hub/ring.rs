//! The recent frames of a topic. A reader that is only slightly behind takes frames from here and does not read history.

use std::{collections::VecDeque, sync::Arc};

use turnpike_topic::Offset;

use super::frame::Frame;

const RING_FRAMES: usize = 256;
const RING_BYTES: usize = 256 << 10;

/// Every frame after `base`, without a gap.
#[derive(Default)]
pub(super) struct Ring {
    /// The follower has reported the head of the topic, or that the topic does not exist. Until then, readers wait.
    pub(super) ready: bool,
    /// The topic's epoch; `None` while the topic does not exist.
    pub(super) epoch: Option<u64>,
    /// The `n` of the event before the first frame.
    pub(super) base: u64,
    pub(super) frames: VecDeque<Arc<Frame>>,
    bytes: usize,
    /// The topic is closed: no frame follows.
    pub(super) closed: bool,
    /// How often the topic was reset.
    pub(super) resets: u64,
    /// The epoch that lost events in the latest reset. It can equal the present epoch, for example if Redis lost only the
    /// newest events: the remaining ones keep their epoch until the next publish begins a new one.
    pub(super) lost: Option<u64>,
}

impl Ring {
    /// An empty ring after a reset of the topic. `lost` is the epoch that lost events.
    pub(super) fn after_reset(&self, ready: bool, lost: Option<u64>) -> Self {
        Self { ready, lost, resets: self.resets + 1, ..Self::default() }
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
        let n = self.frames.back().map_or(self.base, |frame| frame.offset.n);
        self.epoch.map(|epoch| Offset { epoch, n })
    }
}
