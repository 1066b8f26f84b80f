//! What a connection still has to write, and how it is written.

use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};
use tokio::net::TcpStream;
use turnpike_topic::Topic;

use super::{
    Place,
    slots::{Slot, Slots},
};
use crate::stream::{
    ending::Close,
    format::Format,
    hub::{ring::Run, topic_reader::Current},
    rfc6455::{events_begun, frames_begun},
    wheel::Tick,
};

/// Topics in one gathering write.
const GATHER: usize = 32;

/// At most the rest of one frame, a page of history, and answers: a client that does not read has no queue of events.
pub(super) struct Out {
    format: Format,
    pub(super) slots: Slots,
    /// The slots that have news.
    pub(super) dirty: u128,
    /// The slots whose reader is not current: the catch-up task takes from it.
    pub(super) work: u128,
    /// The slots whose history could not be read, and when it is read again.
    retry: u128,
    retry_at: Tick,
    /// The rest of a frame that is partly written. It goes out before anything else.
    tail: Bytes,
    /// Complete frames of our own: answers, pongs, pings, the close frame. They go out before further events.
    pub(super) control: Vec<u8>,
    /// Complete frames that the catch-up task took for a slot. It takes no more before they are written.
    page: Bytes,
    page_slot: usize,
    /// The kernel takes no more: the catch-up task waits for room, and nobody else writes.
    pub(super) blocked: bool,
    pub(super) has_task: bool,
    /// Bytes were written since the latest look at this field.
    pub(super) progressed: bool,
    pub(super) bus_outage_reported: bool,
    /// Bytes that the kernel has taken.
    pub(super) sent: u64,
    /// When the client answered a ping or sent a heartbeat.
    pub(super) heartbeat: Option<Tick>,
    /// The stream is broken, or the connection has ended.
    gone: bool,
    /// Why the socket ends, once that is known.
    close: Option<Close>,
    /// A close frame is queued or written: when the stream is shut down.
    pub(super) farewell: Option<Tick>,
    pub(super) progress: Tick,
    pub(super) next_ping: Tick,
    /// The client seems to be silent: since when.
    pub(super) suspected: Option<Tick>,
}

/// What remains after an attempt to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Done,
    /// A fair share was written, and there is more.
    More,
    /// The kernel takes no more.
    Blocked,
}

impl Out {
    pub(super) fn new(format: Format, now: Tick, next_ping: Tick) -> Self {
        Self {
            format,
            slots: Slots::default(),
            dirty: 0,
            work: 0,
            retry: 0,
            retry_at: now,
            tail: Bytes::new(),
            control: Vec::new(),
            page: Bytes::new(),
            page_slot: 0,
            blocked: false,
            has_task: false,
            progressed: false,
            bus_outage_reported: false,
            sent: 0,
            heartbeat: None,
            gone: false,
            close: None,
            farewell: None,
            progress: now,
            next_ping,
            suspected: None,
        }
    }

    /// Whether anything may still be queued.
    pub(super) const fn is_open(&self) -> bool {
        self.farewell.is_none() && !self.gone
    }

    /// Whether anything can still be written.
    pub(super) const fn is_alive(&self) -> bool {
        !self.gone
    }

    pub(super) fn is_drained(&self) -> bool {
        self.gone || (self.tail.is_empty() && self.control.is_empty())
    }

    pub(super) fn unread(&self) -> usize {
        if self.gone { 0 } else { self.control.len() }
    }

    /// Queues the last frame.
    pub(super) fn close(&mut self, close: Close, frame: &[u8], deadline: Tick) {
        self.control.extend_from_slice(frame);
        (self.close, self.farewell, self.page) = (self.close.take().or(Some(close)), Some(deadline), Bytes::new());
        (self.dirty, self.work, self.retry) = (0, 0, 0);
    }

    pub(super) fn fail(&mut self) {
        self.gone = true;
        self.close.get_or_insert(Close::Gone);
    }

    /// Ends everything. The caller drops the slots without the lock.
    pub(super) fn go(&mut self) -> (Slots, Close) {
        self.fail();
        (self.tail, self.page, self.control) = (Bytes::new(), Bytes::new(), Vec::new());
        (std::mem::take(&mut self.slots), self.close.clone().unwrap_or(Close::Gone))
    }

    /// Whether nothing confirms a subscription to a topic later.
    pub(super) fn is_confirmed(&mut self, topic: Topic) -> bool {
        let Some(number) = self.slots.find(topic) else { return true };
        let has_page = self.page_slot == number && !self.page.is_empty();
        let is_due =
            self.slots.get(number).is_some_and(|slot| slot.confirm.is_some() || matches!(slot.place, Place::Opening));
        !is_due && !has_page
    }

    /// A slot has news. Returns whether the connection must be visited for it.
    pub(super) fn mark(&mut self, slot: usize) -> bool {
        if !self.is_open() {
            return false;
        }
        // Something is marked already: a visit follows, or the catch-up task takes care of all that is marked.
        let is_listed = self.dirty != 0;
        self.dirty |= 1 << slot;
        !is_listed
    }

    /// Removes a topic together with its page; the rest of a frame that is partly written stays in the tail. The caller drops the
    /// slot without the lock.
    #[must_use]
    pub(super) fn remove(&mut self, topic: Topic) -> Option<Slot> {
        let number = self.slots.find(topic)?;
        if self.page_slot == number {
            self.page = Bytes::new();
        }
        let keep: u128 = !(1 << number);
        (self.dirty, self.work, self.retry) = (self.dirty & keep, self.work & keep, self.retry & keep);
        self.slots.remove(number)
    }

    pub(super) fn set_page(&mut self, slot: usize, page: Bytes) {
        debug_assert!(self.page.is_empty(), "the previous page is written");
        (self.page, self.page_slot) = (page, slot);
    }

    pub(super) fn retry(&mut self, slot: usize, at: Tick) {
        self.retry |= 1 << slot;
        self.retry_at = at;
    }

    /// Returns whether a retry was due. Its slots have news now.
    pub(super) fn retry_if_due(&mut self, now: Tick) -> bool {
        if self.retry == 0 || self.retry_at.left(now) > 0 {
            return false;
        }
        self.dirty |= std::mem::take(&mut self.retry);
        true
    }

    fn has_written(&mut self, bytes: usize) {
        self.progressed = true;
        self.sent += bytes as u64;
    }

    /// Writes everything that is queued. Returns whether nothing is left.
    pub(super) fn flush(&mut self, stream: &TcpStream) -> io::Result<bool> {
        while !self.tail.is_empty() {
            let written = stream.try_write(&self.tail)?;
            self.tail.advance(written);
            self.has_written(written);
        }
        self.tail = Bytes::new(); // a tail that is written does not keep its memory
        if !self.control.is_empty() {
            let written = stream.try_write(&self.control)?;
            self.has_written(written);
            let end = frames_begun(&self.control, written);
            self.tail = Bytes::copy_from_slice(&self.control[written..end]);
            self.control.drain(..end);
            if !self.tail.is_empty() || !self.control.is_empty() {
                return Ok(false);
            }
            self.control = Vec::new(); // an idle socket has no buffer
        }
        if !self.page.is_empty() && self.is_open() {
            let written = stream.try_write(&self.page)?;
            self.has_written(written);
            let end = frames_begun(&self.page, written);
            // A copy: a slice would keep the whole page for as long as the client does not read.
            self.tail = Bytes::copy_from_slice(&self.page[written..end]);
            self.page.advance(end);
            if !self.tail.is_empty() || !self.page.is_empty() {
                return Ok(false);
            }
            self.page = Bytes::new();
        }
        Ok(true)
    }

    /// Writes everything that is queued, then what is new in the slots that have news, one run of each. Slots that are not current
    /// become work for the catch-up task.
    pub(super) fn turn(&mut self, stream: &TcpStream, runs: &mut Vec<(usize, Run)>) -> io::Result<Turn> {
        if !self.flush(stream)? {
            return Ok(Turn::Blocked);
        }
        if !self.is_open() {
            return Ok(Turn::Done);
        }
        runs.clear();
        let mut news = self.dirty;
        while news != 0 {
            let number = news.trailing_zeros() as usize;
            let bit = 1 << number;
            news &= !bit;
            let next = match self.slots.get(number).map(|slot| &mut slot.place) {
                Some(Place::Here(reader)) => reader.current(self.format),
                Some(Place::Taken { news }) => {
                    *news = true;
                    Current::Nothing
                }
                Some(Place::Opening) | None => Current::Nothing,
            };
            match next {
                Current::Run(run) => runs.push((number, run)),
                Current::Nothing => self.dirty &= !bit,
                Current::No => {
                    self.dirty &= !bit;
                    self.work |= bit;
                }
            }
        }
        for group in runs.chunks(GATHER) {
            if !self.write_runs(stream, group)? {
                return Ok(Turn::Blocked);
            }
        }
        Ok(if self.dirty == 0 { Turn::Done } else { Turn::More })
    }

    /// Writes runs of several slots at once. Returns whether all of them are written.
    fn write_runs(&mut self, stream: &TcpStream, runs: &[(usize, Run)]) -> io::Result<bool> {
        let mut left = match runs {
            [(_, only)] => stream.try_write(&only.bytes)?,
            several => {
                let mut slices = [IoSlice::new(&[]); GATHER];
                for (slice, (_, run)) in slices.iter_mut().zip(several) {
                    *slice = IoSlice::new(&run.bytes);
                }
                stream.try_write_vectored(&slices[..several.len()])?
            }
        };
        self.has_written(left);
        for (number, run) in runs {
            if left < run.bytes.len() {
                self.advance_within(*number, run, left);
                return Ok(false);
            }
            left -= run.bytes.len();
            self.advance(*number, run.to);
            if !run.more {
                self.dirty &= !(1 << number);
            }
        }
        Ok(true)
    }

    /// A part of a run is written: the position moves past the frames that are begun, and the rest of the last one is the tail.
    fn advance_within(&mut self, number: usize, run: &Run, written: usize) {
        if written == 0 {
            return;
        }
        let (end, begun) = events_begun(&run.bytes, written);
        // A copy: a slice would keep the whole run for as long as the client does not read.
        self.tail = Bytes::copy_from_slice(&run.bytes[written..end]);
        self.advance(number, run.from + begun);
    }

    fn advance(&mut self, number: usize, to: u64) {
        if let Some(Slot { place: Place::Here(reader), .. }) = self.slots.get(number) {
            reader.advance(to);
        }
    }
}
