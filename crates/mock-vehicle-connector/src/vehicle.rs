//! One simulated vehicle: control units that answer UDS requests from a shared state.

use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use crate::{
    physics::Physics,
    trouble::{self, CODES, Entry, status},
    uds::{self, nrc},
    vin::vin,
};

/// The control units of every vehicle: address and name.
pub(crate) const ECUS: [(u8, &str); 5] =
    [(0x10, "motor"), (0x11, "bms"), (0x12, "abs"), (0x13, "bcm"), (0x14, "gateway")];

/// The isolation test of the high-voltage system, which the battery management runs.
pub(crate) const HV_ISOLATION_TEST: u16 = 0x0203;
/// A routine that needs a security key, which no client has.
pub(crate) const LOCKED_ROUTINE: u16 = 0x0f01;

const MODELS: [(&str, &str, &str, &str); 5] = [
    ("WTP", "EV1A2", "Volta", "Meridian"),
    ("YTP", "SW3C1", "Norden", "Fjell"),
    ("1TP", "PU2D4", "Cascadia", "Ranger EV"),
    ("KTP", "CP5B3", "Hanbit", "Sora"),
    ("VTP", "VN4E1", "Lumiere", "Cargo"),
];

/// The answer of a control unit: its messages in order, and the time of its restart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) messages: Vec<Vec<u8>>,
    /// After a reset the control unit does not answer for this time, in milliseconds.
    pub(crate) silent_for: Option<u64>,
}

pub(crate) struct Vehicle {
    pub(crate) vin: String,
    pub(crate) make: &'static str,
    pub(crate) model: &'static str,
    pub(crate) year: u32,
    serial: u32,
    /// Time of the vehicle in milliseconds. Only requests advance it, so that the same script always finds the same vehicle.
    now: u64,
    pub(crate) physics: Physics,
    memory: Vec<Entry>,
    isolation_test: Option<u64>,
    /// The random generator of this vehicle and its faults.
    pub(crate) dice: ChaCha8Rng,
}

impl Vehicle {
    /// The vehicle of a seed and an index in the fleet.
    pub(crate) fn new(seed: u64, index: u32) -> Self {
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        dice.set_stream(u64::from(index) + 1);
        let (manufacturer, descriptor, make, model) = MODELS[(index as usize) % MODELS.len()];
        let year = 2018 + dice.random_range(0..8_u32);
        let serial = dice.random_range(0..900_000) / 1000 * 1000 + index % 1000;
        let mut memory = Vec::new();
        for (place, code) in CODES.iter().enumerate() {
            // Every vehicle has the first code, so that there is always one to read.
            if place == 0 || dice.random_bool(0.45) {
                let severe = if dice.random_bool(0.5) { 0x2f } else { status::FAILED | status::CONFIRMED };
                memory.push(Entry { code, status: severe, cause: dice.random_bool(0.5), cleared_at: None });
            }
        }
        let physics = Physics::parked(
            dice.random_range(35.0..95.0),
            dice.random_range(5.0..25.0),
            f64::from(dice.random_range(720..860_u32)),
        );
        Self {
            vin: vin(manufacturer, descriptor, year, 'M', serial),
            make,
            model,
            year,
            serial,
            now: 0,
            physics,
            memory,
            isolation_test: None,
            dice,
        }
    }

    /// Advances the time of the vehicle.
    pub(crate) fn pass(&mut self, millis: u64) {
        self.now += millis;
        self.physics.pass(millis);
        let now = self.now;
        self.memory.retain_mut(|entry| entry.retest(now));
    }

    /// The answer of the control unit at the address `ecu`. Every request is answered, an invalid one with a negative response.
    pub(crate) fn answer(&mut self, ecu: u8, request: &[u8]) -> Answer {
        let service = request.first().copied().unwrap_or_default();
        let answered = match (service, request) {
            (uds::READ_DTC, [_, 0x02, mask]) => Ok(self.read_dtc(ecu, *mask)),
            (uds::CLEAR, [_, a, b, c]) => self.clear(ecu, u32::from_be_bytes([0, *a, *b, *c])),
            (uds::READ_DATA, [_, a, b]) => self.read_data(ecu, u16::from_be_bytes([*a, *b])),
            (uds::ROUTINE, [_, action, a, b]) => self.routine(ecu, *action, u16::from_be_bytes([*a, *b])),
            (uds::RESET, [_, kind]) => return self.reset(*kind),
            (uds::READ_DTC | uds::CLEAR | uds::READ_DATA | uds::ROUTINE | uds::RESET, _) => Err(nrc::INCORRECT_LENGTH),
            _ => Err(nrc::SERVICE_NOT_SUPPORTED),
        };
        let messages = answered.unwrap_or_else(|code| vec![uds::negative(service, code)]);
        Answer { messages, silent_for: None }
    }

    /// A reportDTCByStatusMask message for each code, then one reportNumberOfDTCByStatusMask message.
    fn read_dtc(&self, ecu: u8, mask: u8) -> Vec<Vec<u8>> {
        let here = self.memory.iter().filter(|entry| entry.code.ecu == ecu && entry.status & mask != 0);
        let mut messages: Vec<Vec<u8>> = here
            .map(|entry| {
                let [_, a, b, c] = entry.code.number.to_be_bytes();
                vec![uds::READ_DTC + uds::POSITIVE, 0x02, 0xff, a, b, c, entry.status]
            })
            .collect();
        let count = (messages.len() as u16).to_be_bytes();
        messages.push(vec![uds::READ_DTC + uds::POSITIVE, 0x01, 0xff, 0x01, count[0], count[1]]);
        messages
    }

    /// Clears one code, or every code of the control unit if `number` is FFFFFF.
    fn clear(&mut self, ecu: u8, number: u32) -> Result<Vec<Vec<u8>>, u8> {
        let now = self.now;
        let mut found = number == 0xff_ffff;
        for entry in self.memory.iter_mut().filter(|entry| entry.code.ecu == ecu) {
            if number == 0xff_ffff || entry.code.number == number {
                entry.clear(now);
                found = true;
            }
        }
        if found { Ok(vec![vec![uds::CLEAR + uds::POSITIVE]]) } else { Err(nrc::OUT_OF_RANGE) }
    }

    fn read_data(&self, ecu: u8, id: u16) -> Result<Vec<Vec<u8>>, u8> {
        let physics = &self.physics;
        let name = ECUS.iter().find(|(address, _)| *address == ecu).map_or("ecu", |(_, name)| name).to_uppercase();
        let rpm = ((physics.rpm * 4.0).round() as u16).to_be_bytes().to_vec();
        let coolant = vec![(physics.coolant_c.round() + 40.0) as u8];
        let speed = vec![physics.speed_kmh.round() as u8];
        let data = match id {
            0xf190 => self.vin.clone().into_bytes(),
            0xf187 => format!("TP-{name}-{:04}", 1000 + u32::from(ecu)).into_bytes(),
            0xf18c => format!("{name}{:08}", self.serial).into_bytes(),
            0xf191 => format!("HW-{name}-2.1").into_bytes(),
            0xf195 => format!("SW-{name}-{}.{}", self.year - 2010, self.serial % 10).into_bytes(),
            0xf40c | 0x010c if ecu == 0x10 => rpm,
            0xf40d | 0x010d if ecu == 0x10 || ecu == 0x12 => speed,
            0xf405 | 0x0105 if ecu == 0x10 => coolant,
            0xf45b if ecu == 0x11 => vec![(physics.charge * 255.0 / 100.0).round() as u8],
            _ => return Err(nrc::OUT_OF_RANGE),
        };
        let [a, b] = id.to_be_bytes();
        Ok(vec![[vec![uds::READ_DATA + uds::POSITIVE, a, b], data].concat()])
    }

    fn routine(&mut self, ecu: u8, action: u8, id: u16) -> Result<Vec<Vec<u8>>, u8> {
        if id == LOCKED_ROUTINE {
            return Err(nrc::SECURITY);
        }
        if (ecu, id) != (0x11, HV_ISOLATION_TEST) {
            return Err(nrc::OUT_OF_RANGE);
        }
        let [a, b] = id.to_be_bytes();
        let message = |rest: &[u8]| [&[uds::ROUTINE + uds::POSITIVE, action, a, b], rest].concat();
        match action {
            0x01 if self.physics.is_moving() => Err(nrc::CONDITIONS_NOT_CORRECT),
            0x01 => {
                let result = 900 + u64::from(self.dice.random_range(0..400_u32));
                self.isolation_test = Some(result);
                // Progress in percent, then the result: passed, and kΩ.
                let progress = [20, 40, 60, 80].map(|percent| message(&[0x01, percent]));
                let [high, low] = (result as u16).to_be_bytes();
                Ok(progress.into_iter().chain([message(&[0x00, 100, high, low])]).collect())
            }
            0x02 => self.isolation_test.take().map(|_| vec![message(&[])]).ok_or(nrc::SEQUENCE_ERROR),
            0x03 => {
                let result = self.isolation_test.ok_or(nrc::SEQUENCE_ERROR)?;
                let [high, low] = (result as u16).to_be_bytes();
                Ok(vec![message(&[0x00, 100, high, low])])
            }
            _ => Err(nrc::SUB_FUNCTION_NOT_SUPPORTED),
        }
    }

    fn reset(&mut self, kind: u8) -> Answer {
        let refused = |code| Answer { messages: vec![uds::negative(uds::RESET, code)], silent_for: None };
        if !matches!(kind, 0x01..=0x03) {
            return refused(nrc::SUB_FUNCTION_NOT_SUPPORTED);
        }
        if self.physics.is_moving() {
            return refused(nrc::SPEED_TOO_HIGH);
        }
        self.isolation_test = None;
        let silent_for = u64::from(self.dice.random_range(2000..=4000_u32));
        Answer { messages: vec![vec![uds::RESET + uds::POSITIVE, kind]], silent_for: Some(silent_for) }
    }
}

pub(crate) fn code_of(bytes: [u8; 3]) -> (String, Option<&'static trouble::Code>) {
    let number = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
    (format!("{number:06X}"), trouble::find(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_is_the_same_fleet() {
        let fleet = |seed| (0..20).map(|index| Vehicle::new(seed, index).vin).collect::<Vec<_>>();
        assert_eq!(fleet(1), fleet(1));
        assert_ne!(fleet(1), fleet(2));
        let mut vins = fleet(1);
        vins.sort();
        vins.dedup();
        assert_eq!(vins.len(), 20, "no two have the same VIN");
    }

    #[test]
    fn a_cleared_code_returns_if_its_cause_is_still_there() {
        for index in 0..10 {
            let mut vehicle = Vehicle::new(1, index);
            let cause = vehicle.memory[0].cause;
            assert_eq!(vehicle.answer(0x10, &[uds::CLEAR, 0xff, 0xff, 0xff]).messages, [[0x54]]);
            assert_eq!(vehicle.read_dtc(0x10, 0xff)[0][6], status::CLEARED);
            vehicle.pass(10_000);
            assert_eq!(vehicle.read_dtc(0x10, 0xff).len() > 1 && vehicle.memory[0].code.name == "P0420", cause);
        }
    }

    #[test]
    fn nothing_is_reset_while_moving() {
        let mut vehicle = Vehicle::new(1, 0);
        vehicle.physics.target_kmh = 50.0;
        vehicle.pass(10_000);
        assert_eq!(vehicle.answer(0x10, &[uds::RESET, 1]).messages, [[0x7f, 0x11, 0x88]]);
        assert_eq!(vehicle.answer(0x11, &[uds::ROUTINE, 1, 2, 3]).messages, [[0x7f, 0x31, 0x22]]);
        vehicle.physics.target_kmh = 0.0;
        vehicle.pass(10_000);
        let answer = vehicle.answer(0x10, &[uds::RESET, 1]);
        assert_eq!(answer.messages, [[0x51, 1]]);
        assert!((2000..=4000).contains(&answer.silent_for.expect("it restarts")));
    }

    proptest::proptest! {
        #[test]
        fn any_request_gets_an_answer(ecu: u8, request: Vec<u8>, seed: u64) {
            let answer = Vehicle::new(seed, 0).answer(ecu, &request);
            proptest::prop_assert!(!answer.messages.is_empty());
        }
    }
}
