//! One WebSocket after its upgrade: its TCP stream, a reader for each of its topics, and what is still to be written.
//!
//! Everything that is written goes through the lock of [`Out`], and a write is cut only at the end of a frame: events of a sweeper,
//! pages of history, answers, pings and pongs do not interleave within a frame. Nothing is written after a close frame.
//!
//! A connection has a task of its own only while something must be awaited: room in the kernel's buffer, history, an archive
//! (`catch_up.rs`). Whoever has something to write (a sweeper, the reading task, the timer wheel) writes as much as the kernel takes
//! and starts that task for the rest.
//!
//! Order of locks: the members of a topic, then a connection, then a ring. So a reader, which leaves the members of its topic when it
//! is dropped, is never dropped under the lock of a connection.

mod catch_up;
mod input;
mod out;
mod slots;
mod tcp;
#[cfg(test)]
mod tests;
mod traffic;
#[cfg(test)]
mod wire;

use std::{
    net::Shutdown,
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;
use tokio::net::TcpStream;
use turnpike_kit::Tasks;
use turnpike_topic::{Offset, Topic};

pub(crate) use self::{
    input::{Ahead, Input},
    slots::MAX_TOPICS,
    traffic::Traffic,
};
use self::{
    out::{Out, Turn},
    slots::Place,
    tcp::Tcp,
};
use super::{
    control_frames,
    ending::{Close, Ending},
    format::Format,
    hub::{
        members::{Swept, Wake},
        ring::Run,
    },
    reader::Reader,
    rfc6455,
    wheel::{AtomicTick, Tick, Wheel, ticks},
};
use crate::config::WRITE_TIMEOUT;

/// How long a client has to answer a close frame.
const FAREWELL: Duration = Duration::from_secs(1);
/// A client that seems silent is given up only after this additional time: after a pause of the whole process, its frames may have
/// arrived without being read.
const LAST_CHANCE: Duration = Duration::from_millis(500);

/// The frames of a protocol that report something about a topic.
pub(crate) trait TopicFrames: Sync {
    /// The text after the event at `head`, when the client has all events up to then; `None`: this protocol has no such frame.
    fn caught_up(&self, topic: Topic, head: Option<Offset>) -> Option<String>;

    /// The text that confirms a subscription, before the first event. `id` is that of the client's request.
    fn subscribed(&self, id: Option<&Value>, topic: Topic, head: Option<Offset>) -> String {
        control_frames::subscribed(id, topic, head)
    }

    /// Called when the client may no longer follow a topic. As for [`TopicFrames::topic_closed`].
    fn reading_ended(&self, topic: Topic) -> Result<String, Close> {
        Ok(control_frames::fault(None, Some(topic), &Ending::Excluded.into()))
    }

    /// A text that is sent with each ping.
    fn heartbeat(&self) -> Option<&'static str> {
        None
    }

    /// Called after the final event of a topic. Returns the text that reports the end of the topic, or ends the socket.
    fn topic_closed(&self, topic: Topic) -> Result<String, Close>;
}

/// The parts that all connections share.
pub(crate) struct Shared {
    pub(crate) tasks: Tasks,
    pub(crate) wheel: Arc<Wheel>,
    /// The interval of pings.
    pub(crate) heartbeat: Duration,
}

/// The fields are in this order in memory. A delivery by [`Swept::write_run`] reads two lines of the processor's cache: the
/// first one has the stream, the second one has the lock and the beginning of [`Out`].
#[repr(C, align(64))]
pub(crate) struct Conn {
    pub(crate) stream: Tcp,
    frames: &'static dyn TopicFrames,
    out: Mutex<Out>,
    shared: Arc<Shared>,
    id: u64,
    pub(crate) format: Format,
    /// When the latest frame of the client arrived, and the latest one that was no pong.
    heard: AtomicTick,
    active: AtomicTick,
    /// Pings that the client has not answered.
    unanswered: AtomicU32,
    received: AtomicU64,
}

impl Conn {
    /// The id must be unique among the connections of the wheel.
    pub(crate) fn new(
        id: u64,
        shared: &Arc<Shared>,
        (stream, format): (TcpStream, Format),
        frames: &'static dyn TopicFrames,
    ) -> Arc<Self> {
        let now = shared.wheel.now();
        let out = Mutex::new(Out::new(format, now, now.after(ticks(shared.heartbeat))));
        Arc::new(Self {
            stream: Tcp::new(stream),
            frames,
            out,
            shared: shared.clone(),
            id,
            format,
            heard: AtomicTick::new(now),
            active: AtomicTick::new(now),
            unanswered: AtomicU32::new(0),
            received: AtomicU64::new(0),
        })
    }

    /// Queues a frame of our own, which is given as JSON; see [`Conn::queue`].
    pub(crate) fn say(self: &Arc<Self>, text: String) {
        self.queue(&self.format.control(text));
    }

    /// Queues complete frames of our own, and sends them at once if nothing is in the way. Never waits.
    pub(crate) fn queue(self: &Arc<Self>, frame: &[u8]) {
        let mut out = self.out.lock();
        if out.is_open() {
            out.queue(frame);
            self.flush(out);
        }
    }

    /// Ends the socket with a close frame; the first reason counts. Returns at once, whatever the client does: after a second, or
    /// when the client has answered, the TCP stream is shut down.
    pub(crate) fn end(self: &Arc<Self>, close: Close) {
        let frame = rfc6455::close(&close);
        self.close_with(close, &frame);
    }

    fn close_with(self: &Arc<Self>, close: Close, frame: &[u8]) {
        let mut out = self.out.lock();
        if out.is_open() {
            let deadline = self.shared.wheel.now().after(ticks(FAREWELL));
            out.close(close, frame, deadline);
            self.shared.wheel.schedule(self.id, deadline);
            self.flush(out);
        }
    }

    /// Whether a close frame was queued. Whatever the client says afterwards does not count.
    pub(crate) fn is_ending(&self) -> bool {
        !self.out.lock().is_open()
    }

    /// Whether everything was handed to the kernel, or cannot be.
    pub(crate) fn is_drained(&self) -> bool {
        self.out.lock().is_drained()
    }

    /// The bytes of answers that the client has not taken and still can take.
    pub(crate) fn unread(&self) -> usize {
        self.out.lock().unread()
    }

    /// Reports that the bus has become unavailable, once for each outage. An outage loses no event silently: the events arrive when
    /// the bus is back, or a reset reports the loss.
    pub(crate) fn report_bus_outage(self: &Arc<Self>, outage: bool) {
        if std::mem::replace(&mut self.out.lock().bus_outage_reported, outage) == outage || !outage {
            return;
        }
        let detail = "Events are delayed; they continue when the bus is back";
        self.say(control_frames::error(None, "UPSTREAM_UNAVAILABLE", detail));
    }

    /// A frame of the client arrived.
    pub(crate) fn heard(&self) {
        self.heard.set(self.shared.wheel.now());
    }

    /// A pong arrived. Returns whether it answers a ping: RFC 6455 also allows unsolicited pongs.
    pub(crate) fn is_answer(&self) -> bool {
        let is_answer =
            self.unanswered.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |pings| pings.checked_sub(1)).is_ok();
        if is_answer {
            self.beats();
        }
        is_answer
    }

    /// Reserves a slot for a topic: its number, and how the topic's reader wakes this connection. `None`: the socket has as many
    /// topics as it may have. Only the reading task changes the topics of a connection.
    pub(crate) fn reserve(self: &Arc<Self>, topic: Topic) -> Option<(usize, Wake)> {
        let slot = self.out.lock().slots().reserve(topic)?;
        Some((slot, Wake::Sweep(self.clone(), slot)))
    }

    /// Puts a reader into its slot and begins to deliver. `confirm` is the id of a request that is answered first, with the topic's
    /// head.
    pub(crate) fn subscribe(self: &Arc<Self>, slot: usize, reader: Reader, confirm: Option<Option<Value>>) {
        let mut out = self.out.lock();
        out.slots().fill(slot, reader, confirm);
        out.dirty |= 1 << slot;
        self.write(out, &mut Vec::new());
    }

    /// Frees the slot of a topic; nothing of the topic follows. Returns whether the socket had the topic.
    pub(crate) fn unsubscribe(&self, topic: Topic) -> bool {
        let removed = self.out.lock().remove(topic);
        removed.is_some() // and a reader is dropped here, without the lock
    }

    /// The client may no longer follow a topic: ends its reader, or the socket.
    pub(crate) fn end_reading(self: &Arc<Self>, topic: Topic) {
        let mut out = self.out.lock();
        let Some(slot) = out.slots().find(topic) else { return };
        // The reader is being opened by the reading task, which has the slot. It is refused with the next report of presence.
        if out.slots().get(slot).is_some_and(|slot| matches!(slot.place, Place::Opening)) {
            return;
        }
        let removed = out.remove(topic);
        drop(out);
        drop(removed);
        match self.frames.reading_ended(topic) {
            Ok(text) => self.say(text),
            Err(close) => self.end(close),
        }
    }

    /// Whether the confirmation of a subscription was handed to the kernel. `true` also if the topic is not subscribed to.
    pub(crate) fn is_confirmed(&self, topic: Topic) -> bool {
        self.out.lock().is_confirmed(topic)
    }

    /// Queues a notice about a topic, unless the subscription to the topic is not confirmed yet.
    pub(crate) fn notify(self: &Arc<Self>, topic: Topic, frame: &[u8]) {
        let mut out = self.out.lock();
        if out.is_open() && out.slots().find(topic).is_some() && out.is_confirmed(topic) {
            out.queue(frame);
            self.flush(out);
        }
    }

    pub(crate) fn follows(&self, topic: Topic) -> bool {
        self.out.lock().slots().find(topic).is_some()
    }

    /// The reading task has ended, and with it the connection. Returns why.
    pub(crate) fn gone(&self) -> Close {
        let (slots, close) = self.out.lock().go();
        self.shutdown();
        drop(slots);
        close
    }

    /// Ends the direction to the client, after the close frame: a client that waits for the end of the stream sees it.
    pub(crate) fn finish(&self) {
        let _ = socket2::SockRef::from(&*self.stream).shutdown(Shutdown::Write);
    }

    /// Ends both directions in the kernel: the reading task and a blocked catch-up task wake up.
    fn shutdown(&self) {
        let _ = socket2::SockRef::from(&*self.stream).shutdown(Shutdown::Both);
    }

    /// Does what is due at this time: pings, the end of a client that is silent or does not read, a retry. Returns when to look
    /// next.
    pub(crate) fn look(self: &Arc<Self>) -> Tick {
        let (now, interval) = (self.shared.wheel.now(), ticks(self.shared.heartbeat));
        let mut out = self.out.lock();
        if let Some(deadline) = out.farewell {
            if deadline.left(now) == 0 {
                self.shutdown();
            }
            return deadline;
        }
        if out.retry_if_due(now) {
            self.write(out, &mut Vec::new());
            out = self.out.lock();
        }
        // A slow client is not a dead one: it is given up when the kernel could hand nothing to it for this long.
        if out.blocked && now.since(out.progress) >= ticks(WRITE_TIMEOUT) {
            out.fail();
            self.shutdown();
            return now.after(1);
        }
        // Two and a half intervals after the latest frame.
        let (silent, given_up) = (now.since(self.heard.get()), interval * 5 / 2);
        let until_given_up = match (silent >= given_up, out.suspected) {
            (false, _) => {
                out.suspected = None;
                given_up - silent
            }
            (true, Some(since)) if now.since(since) >= ticks(LAST_CHANCE) => {
                drop(out);
                self.end(Close::NoHeartbeat);
                return now.after(1);
            }
            (true, since) => {
                out.suspected = since.or(Some(now));
                ticks(LAST_CHANCE)
            }
        };
        if out.next_ping.left(now) == 0 {
            out.next_ping = now.after(interval);
            self.unanswered.fetch_add(1, Ordering::Relaxed);
            out.queue(&rfc6455::ping());
            if let Some(text) = self.frames.heartbeat() {
                out.queue(&rfc6455::text(text.to_owned()));
            }
            self.flush(out);
            out = self.out.lock();
        }
        now.after(out.next_ping.left(now).min(until_given_up))
    }

    /// Writes what is queued, but no further events.
    fn flush(self: &Arc<Self>, out: MutexGuard<'_, Out>) {
        self.write_some(out, |conn, out| {
            out.flush(&conn.stream).map(|empty| if empty { Turn::Done } else { Turn::Blocked })
        });
    }

    /// Writes what is queued, and what is new in the topics that have news.
    fn write(self: &Arc<Self>, out: MutexGuard<'_, Out>, runs: &mut Vec<(usize, Run)>) {
        self.write_some(out, |conn, out| out.turn(&conn.stream, runs));
    }

    /// Writes without waiting, and starts the catch-up task if something must be awaited.
    fn write_some(
        self: &Arc<Self>,
        mut out: MutexGuard<'_, Out>,
        write: impl FnOnce(&Self, &mut Out) -> std::io::Result<Turn>,
    ) {
        if out.blocked || !out.is_alive() {
            return;
        }
        let turn = self.settle(write(self, &mut out), &mut out);
        if !out.has_task && (turn != Turn::Done || out.work != 0) && out.is_alive() {
            out.has_task = true;
            self.start_catch_up();
        }
    }

    /// What remains to do after an attempt to write. A broken stream is shut down, which ends the reading task.
    fn settle(&self, written: std::io::Result<Turn>, out: &mut Out) -> Turn {
        let turn = match written {
            Ok(turn) => turn,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Turn::Blocked,
            Err(_) => {
                out.fail();
                self.shutdown();
                Turn::Done
            }
        };
        if out.progressed {
            (out.progress, out.progressed) = (self.shared.wheel.now(), false);
        }
        if turn == Turn::Blocked && !out.blocked {
            (out.blocked, out.progress) = (true, self.shared.wheel.now());
        }
        turn
    }
}

impl Swept for Conn {
    fn id(&self) -> u64 {
        self.id
    }

    fn mark(&self, slot: usize) -> bool {
        self.out.lock().mark(slot)
    }

    fn touch(&self) -> bool {
        // Both are read, always; the result is not used.
        (self.stream.as_raw_fd() < 0) & self.out.is_locked()
    }

    fn write_run(&self, run: &Run) -> bool {
        self.out.lock().write_run(&self.stream, run)
    }

    fn mark_and_visit(self: Arc<Self>, slot: usize, runs: &mut Vec<(usize, Run)>) {
        let mut out = self.out.lock();
        if out.mark(slot) {
            self.write(out, runs);
        }
    }

    fn visit(self: Arc<Self>, runs: &mut Vec<(usize, Run)>) {
        let out = self.out.lock();
        self.write(out, runs);
    }
}
