//! One timer wheel for all connections: when each of them must be looked at next. A connection has no timer of its own.
//!
//! An entry is the id of a connection. An entry may be obsolete: the look decides what is due, so an extra look is harmless.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use parking_lot::Mutex;

/// The resolution of all deadlines of connections.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// A connection is looked at again after at most this many ticks (102 s), also if its next deadline is later.
const SLOTS: u32 = 1024;

/// A time in ticks since the wheel began. It wraps after 13 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tick(u32);

impl Tick {
    /// The ticks from an earlier time to this one.
    pub(crate) const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    pub(crate) const fn after(self, ticks: u32) -> Self {
        Self(self.0.wrapping_add(ticks))
    }

    /// The ticks from `now` until this time; 0 if it has come.
    pub(crate) const fn left(self, now: Self) -> u32 {
        let left = self.since(now);
        if left > u32::MAX / 2 { 0 } else { left }
    }
}

/// A tick that several tasks read and write.
pub(crate) struct AtomicTick(AtomicU32);

impl AtomicTick {
    pub(crate) const fn new(tick: Tick) -> Self {
        Self(AtomicU32::new(tick.0))
    }

    pub(crate) fn get(&self) -> Tick {
        Tick(self.0.load(Ordering::Relaxed))
    }

    pub(crate) fn set(&self, tick: Tick) {
        self.0.store(tick.0, Ordering::Relaxed);
    }
}

/// A duration in ticks, rounded up.
pub(crate) fn ticks(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u32::MAX / 4).min(u32::MAX / 4)
}

pub(crate) struct Wheel {
    now: AtomicTick,
    slots: Box<[Mutex<Vec<u64>>]>,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        let slots = (0..SLOTS).map(|_| Mutex::default()).collect();
        Self { now: AtomicTick::new(Tick(0)), slots }
    }

    /// The time of the latest turn.
    pub(crate) fn now(&self) -> Tick {
        self.now.get()
    }

    /// Asks for a look at a connection at this time, or at the next turn if that is over. Returns the time of the look, which is
    /// earlier if `at` is far away.
    pub(crate) fn schedule(&self, id: u64, at: Tick) -> Tick {
        let now = self.now();
        let at = now.after(at.left(now).clamp(1, SLOTS - 1));
        self.slot(at).lock().push(id);
        at
    }

    /// Turns the wheel to a time since it began. Calls `look` for each look that has become due since the latest turn.
    pub(crate) fn turn(&self, elapsed: Duration, look: impl FnMut(u64)) {
        // After 13 years the ticks wrap.
        let elapsed = (elapsed.as_millis() / TICK.as_millis()) as u32;
        let (last, now) = (self.now(), Tick(elapsed));
        // After a pause that is longer than the wheel, every slot is due once.
        let turns = now.since(last).min(SLOTS);
        self.now.set(now);
        // Everything that is due is taken before the first look: a look may schedule into a slot of this turn.
        let mut due = Vec::new();
        for tick in (0..turns).rev().map(|back| Tick(now.0.wrapping_sub(back))) {
            due.append(&mut self.slot(tick).lock());
        }
        due.into_iter().for_each(look);
    }

    fn slot(&self, tick: Tick) -> &Mutex<Vec<u64>> {
        &self.slots[(tick.0 % SLOTS) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(wheel: &Wheel, ticks: u32) -> Vec<u64> {
        let mut looks = Vec::new();
        wheel.turn(TICK * ticks, |id| looks.push(id));
        looks
    }

    #[test]
    fn every_connection_is_looked_at_in_its_tick() {
        let wheel = Wheel::new();
        let start = wheel.now();
        assert_eq!(wheel.schedule(1, start.after(10)), start.after(10));
        assert_eq!(wheel.schedule(2, start), start.after(1), "the past is the next tick");
        let far = wheel.schedule(3, start.after(1_000_000));
        assert_eq!(far, start.after(SLOTS - 1), "a far deadline is looked at earlier");
        assert_eq!(looks(&wheel, 1), [2]);
        assert!(looks(&wheel, 9).is_empty());
        assert_eq!(looks(&wheel, 10), [1]);
        assert_eq!(looks(&wheel, 3 * SLOTS), [3], "also after a pause that is longer than the wheel");
        assert!(looks(&wheel, 9 * SLOTS).is_empty());
    }

    #[test]
    fn a_look_that_schedules_the_next_one_is_not_repeated_in_the_same_turn() {
        let wheel = Wheel::new();
        wheel.schedule(1, wheel.now().after(5));
        for turn in 1..100 {
            let mut looks = 0;
            wheel.turn(TICK * 700 * turn, |id| {
                looks += 1;
                wheel.schedule(id, wheel.now().after(600));
            });
            assert_eq!(looks, 1);
        }
    }
}
