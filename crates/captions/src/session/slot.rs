//! The place where a session's audio waits for a thread, and where what was heard waits to be published.
//!
//! Audio is never dropped: if a session is behind, its audio waits, and the client is not read further. Partials are made only when
//! all audio was heard, and a newer one replaces one that is not published yet, so that lag cannot pile up.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::error;
use turnpike_event::{AudioLevel, CaptionsState};

use super::{
    audio_file::AudioFile,
    pool::{Job, Pool},
};
use crate::{
    audio::Meter,
    engine::{EngineError, RATE},
    speech::{Captioner, Output, millis},
};

/// Audio that may wait.
const WAITING: u64 = 30 * RATE as u64;
/// Audio that one turn hears; other sessions then have theirs.
const TURN: u64 = 2 * RATE as u64;
/// Results that may wait to be published. A session with more is not heard further.
const UNPUBLISHED: usize = 64;
/// Audio between two reports of metrics.
const REPORT: u64 = 5 * RATE as u64;
/// Audio of which it is known when it arrived: longer than a segment.
const REMEMBERED: u64 = 15 * RATE as u64;

/// What waits for a thread.
pub(super) enum Item {
    Audio(Vec<f32>),
    /// Audio of this length is left out.
    Skip(u64),
    /// The live segment ends.
    Finalize,
    /// The state has changed.
    Say(CaptionsState, &'static str),
    /// The session ends.
    Drain,
}

/// What waits to be published, in order.
pub(super) enum Heard {
    Caption {
        output: Output,
        /// When the audio arrived with which speech began (partial) or ended (final).
        arrived: Option<Instant>,
    },
    /// A `Finalize` that was asked for then has been carried out.
    Finalized(Instant),
    Report {
        level: AudioLevel,
        lag_ms: u64,
        real_time_factor: f64,
    },
    State(CaptionsState, &'static str),
    Drained,
    Failed(&'static str),
}

pub(crate) struct Slot {
    pool: Pool,
    waiting: Mutex<Waiting>,
    /// Locked by the thread that has the session's turn.
    work: Mutex<Option<Work>>,
    heard: Mutex<VecDeque<Heard>>,
    /// Something was heard.
    pub(super) published: Notify,
    /// There is room for audio, or there will be none.
    pub(super) room: Notify,
}

#[derive(Default)]
struct Waiting {
    items: VecDeque<(Item, Instant)>,
    samples: u64,
    /// The session waits for a thread, or has one.
    scheduled: bool,
    ended: bool,
}

struct Work {
    captioner: Captioner,
    /// `None`: the audio is not kept.
    audio: Option<AudioFile>,
    /// Ends of pieces of audio, and when they arrived.
    arrivals: VecDeque<(u64, Instant)>,
    meter: Meter,
    reported: u64,
    /// Of the engine since the last report.
    busy: Duration,
}

impl Slot {
    pub(super) fn new(pool: Pool, captioner: Captioner) -> Arc<Self> {
        let reported = captioner.position();
        let (audio, arrivals, meter) = Default::default();
        let work = Work { captioner, audio, arrivals, meter, reported, busy: Duration::ZERO };
        Arc::new(Self {
            pool,
            waiting: Mutex::default(),
            work: Mutex::new(Some(work)),
            heard: Mutex::default(),
            published: Notify::new(),
            room: Notify::new(),
        })
    }

    /// From now on the audio is kept. Called before the first audio.
    pub(super) fn keep(&self, audio: AudioFile) {
        if let Some(work) = &mut *self.work.lock() {
            work.audio = Some(audio);
        }
    }

    /// Whether audio can be given, now.
    pub(super) fn has_room(&self) -> bool {
        let waiting = self.waiting.lock();
        waiting.samples < WAITING || waiting.ended
    }

    pub(super) fn give(self: &Arc<Self>, item: Item) {
        let schedule = {
            let mut waiting = self.waiting.lock();
            if waiting.ended {
                return;
            }
            if let Item::Audio(pcm) = &item {
                waiting.samples += pcm.len() as u64;
            }
            waiting.items.push_back((item, Instant::now()));
            !std::mem::replace(&mut waiting.scheduled, true)
        };
        if schedule {
            self.pool.schedule(self.clone());
        }
    }

    /// Audio that waits, in milliseconds.
    pub(super) fn lag_ms(&self) -> u64 {
        millis(self.waiting.lock().samples)
    }

    /// The next thing that was heard.
    pub(super) fn take(self: &Arc<Self>) -> Option<Heard> {
        let (heard, was_full) = {
            let mut queue = self.heard.lock();
            let was_full = queue.len() >= UNPUBLISHED;
            (queue.pop_front(), was_full)
        };
        if was_full {
            // The session was left out of the queue of threads while there was no room.
            let idle = {
                let mut waiting = self.waiting.lock();
                !waiting.items.is_empty() && !std::mem::replace(&mut waiting.scheduled, true)
            };
            if idle {
                self.pool.schedule(self.clone());
            }
        }
        heard
    }

    /// Ends the session with a failure. Its engine is dropped.
    fn fail(&self, reason: &'static str) {
        self.end();
        *self.work.lock() = None;
        self.push(Heard::Failed(reason));
    }

    fn end(&self) {
        let mut waiting = self.waiting.lock();
        (waiting.ended, waiting.samples) = (true, 0);
        waiting.items.clear();
        drop(waiting);
        self.room.notify_waiters();
    }

    fn push(&self, heard: Heard) {
        let mut queue = self.heard.lock();
        if matches!(&heard, Heard::Caption { .. } | Heard::Report { .. }) {
            let partial = |queued: &Heard| matches!(queued, Heard::Caption { output: Output::Partial { .. }, .. });
            let same = |queued: &Heard| match heard {
                Heard::Report { .. } => matches!(queued, Heard::Report { .. }),
                _ => partial(queued),
            };
            queue.retain(|queued| !same(queued)); // superseded
        }
        queue.push_back(heard);
        drop(queue);
        self.published.notify_one();
    }

    fn hear(&self) -> bool {
        let mut work = self.work.lock();
        let Some(working) = &mut *work else { return false };
        let mut budget = TURN;
        loop {
            if self.heard.lock().len() >= UNPUBLISHED {
                let mut waiting = self.waiting.lock();
                waiting.scheduled = false;
                return false; // `take` schedules again
            }
            let next = {
                let mut waiting = self.waiting.lock();
                let next = waiting.items.pop_front();
                if let Some((Item::Audio(pcm), _)) = &next {
                    waiting.samples = waiting.samples.saturating_sub(pcm.len() as u64);
                }
                next
            };
            let began = Instant::now();
            let done = match next {
                None => self.partial(working),
                Some((Item::Audio(pcm), arrived)) => {
                    budget = budget.saturating_sub(pcm.len() as u64);
                    self.listen(working, &pcm, arrived)
                }
                Some((Item::Skip(samples), _)) => {
                    working.captioner.skip(samples);
                    if let Some(audio) = &mut working.audio {
                        audio.skip(samples);
                    }
                    Ok(false)
                }
                Some((Item::Finalize, asked)) => self.finish(working).map(|()| {
                    self.push(Heard::Finalized(asked));
                    false
                }),
                Some((Item::Say(state, reason), _)) => {
                    self.push(Heard::State(state, reason));
                    Ok(false)
                }
                Some((Item::Drain, _)) => {
                    if let Err(error) = self.finish(working) {
                        error!(%error, "the last segment could not be transcribed");
                    }
                    self.end();
                    *work = None;
                    self.push(Heard::Drained);
                    return false;
                }
            };
            working.busy += began.elapsed();
            self.room.notify_waiters();
            match done {
                Err(error) => {
                    error!(%error, "the session has failed");
                    drop(work);
                    self.fail("engine_failed");
                    return false;
                }
                Ok(is_idle) => {
                    let mut waiting = self.waiting.lock();
                    if is_idle && waiting.items.is_empty() {
                        waiting.scheduled = false;
                        return false;
                    }
                    if budget == 0 && !waiting.items.is_empty() {
                        return true;
                    }
                }
            }
        }
    }

    fn listen(&self, work: &mut Work, pcm: &[f32], arrived: Instant) -> Result<bool, EngineError> {
        work.meter.add(pcm);
        if let Some(audio) = &mut work.audio {
            audio.write(pcm);
        }
        let end = work.captioner.position() + pcm.len() as u64;
        work.arrivals.push_back((end, arrived));
        while work.arrivals.front().is_some_and(|(at, _)| at + REMEMBERED < end) {
            work.arrivals.pop_front();
        }
        for output in work.captioner.listen(pcm)? {
            self.caption(work, output);
        }
        if end - work.reported >= REPORT {
            let seconds = (end - work.reported) as f64 / f64::from(RATE);
            let real_time_factor = std::mem::take(&mut work.busy).as_secs_f64() / seconds;
            metrics::histogram!("turnpike_captions_real_time_factor").record(real_time_factor);
            work.reported = end;
            self.push(Heard::Report { level: work.meter.take(), lag_ms: self.lag_ms(), real_time_factor });
        }
        Ok(false)
    }

    /// All audio was heard. A client that ends the segment meanwhile does not wait for a partial.
    fn partial(&self, work: &mut Work) -> Result<bool, EngineError> {
        let ends = |(item, _): &(Item, Instant)| matches!(item, Item::Finalize | Item::Drain);
        let superseded = || self.waiting.lock().items.iter().any(ends);
        if let Some(output) = work.captioner.partial(&superseded)? {
            self.caption(work, output);
        }
        Ok(true)
    }

    fn finish(&self, work: &mut Work) -> Result<(), EngineError> {
        if let Some(output) = work.captioner.finish()? {
            self.caption(work, output);
        }
        Ok(())
    }

    fn caption(&self, work: &Work, output: Output) {
        let at = match &output {
            Output::Partial { onset, .. } => onset + 1,
            Output::Final { spoken_until, .. } => *spoken_until,
        };
        let arrived = work.arrivals.iter().find(|(end, _)| *end >= at).map(|(_, arrived)| *arrived);
        self.push(Heard::Caption { output, arrived });
    }
}

impl Job for Slot {
    fn turn(&self) -> bool {
        self.hear()
    }

    fn panicked(&self) {
        self.fail("engine_panicked");
    }
}
