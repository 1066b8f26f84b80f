//! The catch-up task of a connection: it waits for room in the kernel's buffer, and takes from readers that are not current
//! (history, archives, resets, the end of a topic). It ends when every reader is current and everything is written.

use std::{sync::Arc, time::Duration};

use turnpike_kit::OnExit;

use super::{
    Conn, Place,
    out::{Out, Turn},
};
use crate::stream::{
    control_frames,
    hub::{frame::join, topic_reader::Batch},
    reader::Reader,
    wheel::ticks,
};

/// The bytes of one topic that are taken at once.
const PAGE_BYTES: usize = 32 << 10;
/// The slot of a page whose topic has ended.
const OF_NO_SLOT: usize = usize::MAX;
/// The delay before history that could not be read is read again.
const RETRY_DELAY: Duration = Duration::from_millis(500);

enum Step {
    /// Nothing is left to do.
    End,
    /// There is more to write, after the other tasks had their turn.
    Yield,
    WaitForRoom,
    Take(Taken),
}

/// A reader that the task has taken out of its slot.
struct Taken {
    number: usize,
    serial: u32,
    reader: Box<Reader>,
    /// Slots with more to write than a fair share. Their marks are put back together with the reader: meanwhile, a new mark puts
    /// the connection on the sweeper's list.
    later: u128,
}

/// The end of the task, also by a panic or with the process: no other task would write to the connection then.
struct Guard {
    conn: Arc<Conn>,
    has_ended: bool,
}

impl Guard {
    fn end(&mut self) {
        self.has_ended = true;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.has_ended {
            self.conn.out.lock().fail();
            self.conn.shutdown();
        }
    }
}

impl Conn {
    pub(super) fn start_catch_up(self: &Arc<Self>) {
        let mut guard = Guard { conn: self.clone(), has_ended: false };
        self.shared.tasks.spawn("socket catch-up", OnExit::Continue, async move {
            guard.conn.catch_up().await;
            guard.end();
        });
    }

    async fn catch_up(self: &Arc<Self>) {
        let mut runs = Vec::new();
        let mut turn_of = 0;
        loop {
            match self.next_step(&mut runs, &mut turn_of) {
                Step::End => return,
                Step::Yield => tokio::task::yield_now().await,
                Step::WaitForRoom => {
                    // A shutdown of the stream ends the wait, too. Waiting for readiness takes nothing from the task's budget, and
                    // a broken stream is always ready.
                    let _ = self.stream.writable().await;
                    tokio::task::yield_now().await;
                }
                Step::Take(mut taken) => {
                    let batch = taken.reader.take(PAGE_BYTES).await;
                    #[cfg(test)]
                    // the bus in memory answers at once; here the topic gets news while the reader is away
                    tokio::task::yield_now().await;
                    self.put_back(taken, batch);
                }
            }
        }
    }

    /// Writes what can be written without waiting. `turn_of` is the slot from which the next reader is looked for.
    fn next_step(self: &Arc<Self>, runs: &mut Vec<(usize, super::Run)>, turn_of: &mut u32) -> Step {
        let mut out = self.out.lock();
        if !out.is_alive() {
            out.has_task = false;
            return Step::End;
        }
        // Also before the first attempt: there may be room again, and nobody else writes while this is set.
        out.blocked = false;
        let written = out.turn(&self.stream, runs);
        let turn = self.settle(written, &mut out);
        runs.clear();
        if turn == Turn::Blocked {
            return Step::WaitForRoom;
        }
        // The slots have turns, so that one with a long history does not keep the others waiting.
        while out.work != 0 && out.is_open() {
            let ahead = out.work >> *turn_of << *turn_of;
            let number = if ahead == 0 { out.work } else { ahead }.trailing_zeros();
            *turn_of = (number + 1) % u128::BITS;
            out.work &= !(1 << number);
            if let Some(step) = self.begin(&mut out, number as usize) {
                return step;
            }
        }
        // Under the lock: a mark from now on finds that nobody will write, and puts the connection on the sweeper's list.
        match turn {
            Turn::More if out.is_open() => Step::Yield,
            _ => {
                out.has_task = false;
                Step::End
            }
        }
    }

    /// Begins to work for a slot. A subscription is confirmed, with the topic's head, before its first event.
    fn begin(&self, out: &mut Out, number: usize) -> Option<Step> {
        let slot = out.slots().get(number)?;
        let Place::Here(reader) = &slot.place else { return None };
        if slot.confirm.is_some() {
            let head = reader.head()?; // the topic has news when its head is known
            let (id, topic) = (slot.confirm.take().flatten(), slot.topic);
            out.set_page(number, self.format.control(self.frames.subscribed(id.as_ref(), topic, head)));
            out.dirty |= 1 << number;
            return Some(Step::Yield);
        }
        let serial = slot.serial;
        match std::mem::replace(&mut slot.place, Place::Taken { news: false }) {
            Place::Here(reader) => {
                let later = std::mem::take(&mut out.dirty);
                Some(Step::Take(Taken { number, serial, reader, later }))
            }
            Place::Opening | Place::Taken { .. } => None,
        }
    }

    fn put_back(self: &Arc<Self>, taken: Taken, batch: Batch) {
        let Taken { number, serial, reader, later } = taken;
        let mut out = self.out.lock();
        if out.is_open() {
            out.dirty |= later;
        }
        let Some(slot) = out.slots().get(number).filter(|slot| slot.serial == serial) else {
            drop(out); // the topic was unsubscribed meanwhile
            drop(reader);
            return;
        };
        let topic = slot.topic;
        let news = matches!(slot.place, Place::Taken { news: true });
        slot.place = Place::Here(reader);
        let page = match batch {
            Batch::Frames(frames) => {
                let only =
                    if let [only] = frames.as_slice() { Some(only.websocket(self.format).clone()) } else { None };
                Some(only.unwrap_or_else(|| join(frames.iter(), self.format)))
            }
            Batch::CaughtUp { head } => {
                Some(self.frames.caught_up(topic, head).map(|text| self.format.control(text)).unwrap_or_default())
            }
            Batch::Reset { reason, head } => Some(self.format.control(control_frames::reset(topic, reason, head))),
            Batch::Closed => {
                let closed = self.frames.topic_closed(topic);
                let removed = out.remove(topic);
                match closed {
                    Ok(text) => {
                        out.set_page(OF_NO_SLOT, self.format.control(text)); // another topic may get the slot
                        drop(out);
                    }
                    Err(close) => {
                        drop(out);
                        self.end(close);
                    }
                }
                drop(removed);
                return;
            }
            Batch::Nothing => None,
            Batch::Unavailable => {
                let at = self.shared.wheel.now().after(ticks(RETRY_DELAY));
                out.retry(number, at);
                self.shared.wheel.schedule(self.id, at);
                None
            }
        };
        if page.is_some() || news {
            out.dirty |= 1 << number;
        }
        if let Some(page) = page.filter(|_| out.is_open()) {
            out.set_page(number, page);
        }
    }
}
