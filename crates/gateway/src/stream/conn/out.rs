//! What a connection still has to write, and how it is written.

#[cfg(test)]
mod tests;

use std::{
    io::{self, IoSlice},
    num::NonZeroU64,
};

use bytes::{Buf, Bytes};
use turnpike_topic::Topic;

use super::{
    Place,
    slots::{Slot, Slots},
    tcp::Tcp,
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
///
/// The fields are in this order in memory: [`Out::write_run`] needs those up to `progressed`. Beside the system call, a delivery
/// mostly waits for memory.
#[repr(C)]
pub(super) struct Out {
    /// The slots that have news.
    pub(super) dirty: u128,
    /// `None`: every reader is at its own position.
    direct: Option<Direct>,
    /// `None`: nothing is queued, as at most times.
    queued: Option<Box<Queued>>,
    /// The slot of the reader whose position is `direct`.
    direct_slot: u8,
    format: Format,
    /// The kernel takes no more: the catch-up task waits for room, and nobody else writes.
    pub(super) blocked: bool,
    pub(super) has_task: bool,
    /// The stream is broken, or the connection has ended.
    gone: bool,
    /// Bytes were written since the latest look at this field.
    pub(super) progressed: bool,
    pub(super) bus_outage_reported: bool,
    pub(super) progress: Tick,
    /// A close frame is queued or written: when the stream is shut down.
    pub(super) farewell: Option<Tick>,
    /// The slots whose reader is not current: the catch-up task takes from it.
    pub(super) work: u128,
    slots: Slots,
    /// The slots whose history could not be read, and when it is read again.
    retry: u128,
    retry_at: Tick,
    pub(super) next_ping: Tick,
    /// When the client answered a ping or sent a heartbeat.
    pub(super) heartbeat: Option<Tick>,
    /// The client seems to be silent: since when.
    pub(super) suspected: Option<Tick>,
    /// Why the socket ends, once that is known.
    close: Option<Close>,
}

/// The position of the reader to which the latest run was written, if that reader is current and the connection is open.
/// [`Out::write_run`] writes the next run of the topic without access to the reader. Until [`Out::slots`] is called, the
/// reader's own position can be behind this one.
#[derive(Clone, Copy)]
struct Direct {
    /// The serial number of the reader's ring.
    ring: NonZeroU64,
    /// The `n` of the event that was written last.
    n: u64,
}

/// Bytes that are written before further events, in the order of the fields.
#[derive(Default)]
struct Queued {
    /// The rest of a frame that is partly written.
    tail: Bytes,
    /// Complete frames of our own: answers, pongs, pings, the close frame.
    control: Vec<u8>,
    /// Complete frames that the catch-up task took for a slot. It takes no more before they are written.
    page: Bytes,
    page_slot: usize,
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
            dirty: 0,
            direct: None,
            queued: None,
            direct_slot: 0,
            format,
            blocked: false,
            has_task: false,
            gone: false,
            progressed: false,
            bus_outage_reported: false,
            progress: now,
            farewell: None,
            work: 0,
            slots: Slots::default(),
            retry: 0,
            retry_at: now,
            next_ping,
            heartbeat: None,
            suspected: None,
            close: None,
        }
    }

    /// The topics and their readers. The position of `direct` is given to its reader first, so every position is up to date.
    pub(super) fn slots(&mut self) -> &mut Slots {
        if let Some(Direct { n, .. }) = self.direct.take() {
            self.advance(self.direct_slot.into(), n);
        }
        &mut self.slots
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
        self.gone || self.queued.as_ref().is_none_or(|queued| queued.tail.is_empty() && queued.control.is_empty())
    }

    pub(super) fn unread(&self) -> usize {
        // A broken connection takes nothing any more: a task that waits for room would wait for ever.
        if self.gone { 0 } else { self.queued.as_ref().map_or(0, |queued| queued.control.len()) }
    }

    /// Queues complete frames of our own.
    pub(super) fn queue(&mut self, frames: &[u8]) {
        self.queued().control.extend_from_slice(frames);
    }

    fn queued(&mut self) -> &mut Queued {
        self.queued.get_or_insert_default()
    }

    /// Queues the last frame.
    pub(super) fn close(&mut self, close: Close, frame: &[u8], deadline: Tick) {
        self.queue(frame);
        self.queued().page = Bytes::new();
        (self.close, self.farewell) = (self.close.take().or(Some(close)), Some(deadline));
        (self.dirty, self.direct, self.work, self.retry) = (0, None, 0, 0);
    }

    pub(super) fn fail(&mut self) {
        (self.gone, self.direct) = (true, None);
        self.close.get_or_insert(Close::Gone);
    }

    /// Ends everything. The caller drops the slots without the lock.
    pub(super) fn go(&mut self) -> (Slots, Close) {
        self.fail();
        self.queued = None;
        (std::mem::take(&mut self.slots), self.close.clone().unwrap_or(Close::Gone))
    }

    /// Whether nothing confirms a subscription to a topic later.
    pub(super) fn is_confirmed(&mut self, topic: Topic) -> bool {
        let Some(number) = self.slots().find(topic) else { return true };
        let has_page = self.queued.as_ref().is_some_and(|queued| queued.page_slot == number && !queued.page.is_empty());
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
        let number = self.slots().find(topic)?;
        if let Some(queued) = &mut self.queued
            && queued.page_slot == number
        {
            queued.page = Bytes::new();
        }
        let keep: u128 = !(1 << number);
        (self.dirty, self.work, self.retry) = (self.dirty & keep, self.work & keep, self.retry & keep);
        self.slots.remove(number)
    }

    pub(super) fn set_page(&mut self, slot: usize, page: Bytes) {
        let queued = self.queued();
        debug_assert!(queued.page.is_empty(), "the previous page is written");
        (queued.page, queued.page_slot) = (page, slot);
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

    /// See [`Swept::write_run`](crate::stream::hub::members::Swept::write_run).
    pub(super) fn write_run(&mut self, stream: &Tcp, run: &Run) -> bool {
        let Some(direct) = &mut self.direct else { return false };
        if (direct.ring, direct.n, self.format) != (run.ring, run.from, run.format) || run.more {
            return false;
        }
        if self.dirty != 0 || self.queued.is_some() || self.blocked {
            return false;
        }
        // The visit that follows gets the same error and handles it.
        let Ok(written) = stream.send(&run.bytes) else { return false };
        self.progressed = true;
        if written < run.bytes.len() {
            self.slots();
            self.advance_within(self.direct_slot.into(), run, written);
            return false;
        }
        direct.n = run.to;
        true
    }

    /// Writes everything that is queued. Returns whether nothing is left.
    pub(super) fn flush(&mut self, stream: &Tcp) -> io::Result<bool> {
        let Some(mut queued) = self.queued.take() else { return Ok(true) };
        let flushed = self.flush_queued(&mut queued, stream);
        if !matches!(flushed, Ok(true)) {
            self.queued = Some(queued); // else nothing of it keeps its memory
        }
        flushed
    }

    fn flush_queued(&mut self, queued: &mut Queued, stream: &Tcp) -> io::Result<bool> {
        while !queued.tail.is_empty() {
            let written = stream.send(&queued.tail)?;
            queued.tail.advance(written);
            self.progressed = true;
        }
        queued.tail = Bytes::new(); // a tail that is written does not keep its memory
        if !queued.control.is_empty() {
            let written = stream.send(&queued.control)?;
            self.progressed = true;
            let end = frames_begun(&queued.control, written);
            queued.tail = Bytes::copy_from_slice(&queued.control[written..end]);
            queued.control.drain(..end);
            if !queued.tail.is_empty() || !queued.control.is_empty() {
                return Ok(false);
            }
        }
        if !queued.page.is_empty() && self.is_open() {
            let written = stream.send(&queued.page)?;
            self.progressed = true;
            let end = frames_begun(&queued.page, written);
            // A copy: a slice would keep the whole page for as long as the client does not read.
            queued.tail = Bytes::copy_from_slice(&queued.page[written..end]);
            queued.page.advance(end);
            if !queued.tail.is_empty() || !queued.page.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes everything that is queued, then what is new in the slots that have news, one run of each. Slots that are not current
    /// become work for the catch-up task.
    pub(super) fn turn(&mut self, stream: &Tcp, runs: &mut Vec<(usize, Run)>) -> io::Result<Turn> {
        if !self.flush(stream)? {
            return Ok(Turn::Blocked);
        }
        runs.clear();
        if !self.is_open() {
            return Ok(Turn::Done);
        }
        self.slots();
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
        if self.dirty != 0 {
            return Ok(Turn::More);
        }
        if let [(number, Run { ring, to, .. })] = runs.as_slice() {
            self.direct_slot = u8::try_from(*number).unwrap_or_default(); // at most 100 slots
            self.direct = Some(Direct { ring: *ring, n: *to });
        }
        Ok(Turn::Done)
    }

    /// Writes runs of several slots at once. Returns whether all of them are written.
    fn write_runs(&mut self, stream: &Tcp, runs: &[(usize, Run)]) -> io::Result<bool> {
        let mut left = match runs {
            [(_, only)] => stream.send(&only.bytes)?,
            several => {
                let mut slices = [IoSlice::new(&[]); GATHER];
                for (slice, (_, run)) in slices.iter_mut().zip(several) {
                    *slice = IoSlice::new(&run.bytes);
                }
                stream.send_vectored(&slices[..several.len()])?
            }
        };
        self.progressed = true;
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
        self.queued().tail = Bytes::copy_from_slice(&run.bytes[written..end]);
        self.advance(number, run.from + begun);
    }

    fn advance(&mut self, number: usize, to: u64) {
        if let Some(Slot { place: Place::Here(reader), .. }) = self.slots.get(number) {
            reader.advance(to);
        }
    }
}
