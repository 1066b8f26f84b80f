//! The vehicles of a running connector: their connections, their faults and their executed commands.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::watch;
use turnpike_kit::{Clock, OnExit, Tasks};

use crate::{
    command::Command,
    link::{Arrival, Faults, transmit},
    vehicle::{Answer, Vehicle},
};

/// Every vehicle by its VIN.
#[derive(Clone)]
pub(crate) struct Fleet(Arc<Inner>);

struct Inner {
    vehicles: BTreeMap<String, Mutex<Slot>>,
    runs: Mutex<Runs>,
    /// Counts changes, for the streams of vehicles.
    changes: watch::Sender<u64>,
    delay_ms: u32,
    clock: Clock,
    tasks: Tasks,
}

struct Slot {
    vehicle: Vehicle,
    faults: Faults,
    connected: bool,
    /// Control units that are restarting, with the end of the restart.
    silent: HashMap<u8, Timestamp>,
}

/// How often each command ran.
#[derive(Default)]
struct Runs {
    order: VecDeque<String>,
    of: HashMap<String, Run>,
}

/// One command that reached a control unit.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) command_id: String,
    pub(crate) vin: String,
    pub(crate) name: String,
    pub(crate) times: u32,
}

/// A vehicle, as streams of vehicles show it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) vin: String,
    pub(crate) make: &'static str,
    pub(crate) model: &'static str,
    pub(crate) year: u32,
    pub(crate) connected: bool,
}

/// Why a vehicle cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAsked {
    Unknown,
    Disconnected,
}

/// Stored executions.
const REMEMBERED: usize = 100_000;
/// Time until a vehicle that lost its connection reconnects.
const RECONNECT: Duration = Duration::from_secs(5);
/// Time of the vehicle that one request takes.
const TICK: u64 = 100;

impl Fleet {
    pub(crate) fn new(seed: u64, vehicles: u32, delay_ms: u32, clock: Clock, tasks: Tasks) -> Self {
        let slot = |vehicle: Vehicle| {
            let slot = Slot { faults: Faults::default(), connected: true, silent: HashMap::new(), vehicle };
            (slot.vehicle.vin.clone(), Mutex::new(slot))
        };
        Self(Arc::new(Inner {
            vehicles: distinct(seed, vehicles).into_values().map(slot).collect(),
            runs: Mutex::default(),
            changes: watch::Sender::new(0),
            delay_ms,
            clock,
            tasks,
        }))
    }

    /// Receives every change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        let look = |slot: &Mutex<Slot>| {
            let slot = lock(slot);
            let Vehicle { vin, make, model, year, .. } = &slot.vehicle;
            Seen { vin: vin.clone(), make, model, year: *year, connected: slot.connected }
        };
        self.0.vehicles.values().map(look).collect()
    }

    /// Whether a vehicle can be reached now.
    pub(crate) fn check(&self, vin: &str) -> Result<(), NotAsked> {
        let slot = self.0.vehicles.get(vin).ok_or(NotAsked::Unknown)?;
        if lock(slot).connected { Ok(()) } else { Err(NotAsked::Disconnected) }
    }

    /// Sends a request to a control unit. Returns the frames with their delays; a restarting control unit sends none.
    pub(crate) fn ask(&self, vin: &str, command: &Command) -> Result<Vec<(u64, Arrival)>, NotAsked> {
        let slot = self.0.vehicles.get(vin).ok_or(NotAsked::Unknown)?;
        let mut slot = lock(slot);
        let slot = &mut *slot;
        if !slot.connected {
            return Err(NotAsked::Disconnected);
        }
        let now = self.0.clock.now();
        slot.silent.retain(|_, until| *until > now);
        slot.vehicle.pass(TICK);
        if slot.silent.contains_key(&command.ecu) {
            return Ok(Vec::new());
        }
        let Answer { messages, silent_for } = slot.vehicle.answer(command.ecu, &command.request);
        let service = command.request[0];
        let arrivals = transmit(service, messages, &slot.faults, self.0.delay_ms, &mut slot.vehicle.dice);
        slot.vehicle.pass(arrivals.iter().map(|(delay, _)| delay).sum());
        if let Some(silent_for) = silent_for {
            slot.silent.insert(command.ecu, now + Duration::from_millis(silent_for));
        }
        Ok(arrivals)
    }

    /// Stores that a command ran.
    pub(crate) fn count(&self, command_id: &str, vin: &str, name: &str) {
        let mut runs = lock(&self.0.runs);
        if let Some(run) = runs.of.get_mut(command_id) {
            run.times += 1;
            return;
        }
        if runs.order.len() >= REMEMBERED
            && let Some(oldest) = runs.order.pop_front()
        {
            runs.of.remove(&oldest);
        }
        runs.order.push_back(command_id.to_owned());
        let run = Run { command_id: command_id.to_owned(), vin: vin.to_owned(), name: name.to_owned(), times: 1 };
        runs.of.insert(command_id.to_owned(), run);
    }

    /// The executions on one vehicle, or on all.
    pub(crate) fn runs(&self, vin: &str) -> Vec<Run> {
        let runs = lock(&self.0.runs);
        let all = runs.order.iter().filter_map(|id| runs.of.get(id));
        all.filter(|run| vin.is_empty() || run.vin == vin).cloned().collect()
    }

    pub(crate) fn set_faults(&self, vin: &str, faults: Faults) -> Result<(), NotAsked> {
        lock(self.0.vehicles.get(vin).ok_or(NotAsked::Unknown)?).faults = faults;
        Ok(())
    }

    /// Sets the target speed. The time of the vehicle advances until it is reached.
    pub(crate) fn drive(&self, vin: &str, speed_kmh: Option<f64>, connected: Option<bool>) -> Result<(), NotAsked> {
        let mut slot = lock(self.0.vehicles.get(vin).ok_or(NotAsked::Unknown)?);
        if let Some(speed) = speed_kmh {
            slot.vehicle.physics.target_kmh = speed;
            slot.vehicle.pass(30_000);
        }
        if let Some(connected) = connected.filter(|connected| *connected != slot.connected) {
            slot.connected = connected;
            drop(slot);
            self.changed();
        }
        Ok(())
    }

    /// Disconnects the vehicle for some seconds.
    pub(crate) fn lose(&self, vin: &str) {
        if self.drive(vin, None, Some(false)).is_err() {
            return;
        }
        let (fleet, vin, back) = (self.clone(), vin.to_owned(), self.0.clock.sleep(RECONNECT));
        let stopping = self.0.tasks.stopping().clone();
        self.0.tasks.spawn("reconnect", OnExit::Continue, async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = back => {
                    // The vehicle exists: checked above.
                    let _ = fleet.drive(&vin, None, Some(true));
                }
            }
        });
    }

    fn changed(&self) {
        self.0.changes.send_modify(|count| *count += 1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic while it is held")
}

/// The vehicles of a seed by their VINs. Serial numbers are random and few, so two vehicles of a large fleet can get one VIN.
/// Then another vehicle replaces it; it does not depend on the size of the fleet.
fn distinct(seed: u64, vehicles: u32) -> BTreeMap<String, Vehicle> {
    let mut fleet = BTreeMap::new();
    let mut spare = (0..u32::MAX).rev();
    for index in 0..vehicles {
        let mut vehicle = Vehicle::new(seed, index);
        while fleet.contains_key(&vehicle.vin) {
            let Some(index) = spare.next() else { break };
            vehicle = Vehicle::new(seed, index);
        }
        fleet.insert(vehicle.vin.clone(), vehicle);
    }
    fleet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_fleet_has_as_many_vehicles_as_it_should_and_a_small_one_is_part_of_it() {
        let large = distinct(1, 5000);
        assert_eq!(large.len(), 5000);
        assert!(distinct(1, 100).into_keys().all(|vin| large.contains_key(&vin)));
    }
}
