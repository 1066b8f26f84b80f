//! The physics of a vehicle: speed determines revolutions and current; current heats the coolant and discharges the battery.
//! Simple, coupled and deterministic.

/// The measured values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Physics {
    /// Target speed, km/h.
    pub(crate) target_kmh: f64,
    pub(crate) speed_kmh: f64,
    pub(crate) rpm: f64,
    /// Battery current, A; positive: discharging.
    pub(crate) current_a: f64,
    /// State of charge, 0–100 %.
    pub(crate) charge: f64,
    /// Coolant, °C.
    pub(crate) coolant_c: f64,
    ambient_c: f64,
    idle_rpm: f64,
}

/// Acceleration, km/h per second.
const ACCELERATION: f64 = 10.0;
/// Capacity of the battery, Ah.
const CAPACITY: f64 = 90.0;
/// Time constant of the cooling, seconds.
const COOLING: f64 = 240.0;
/// Step of the integration, seconds.
const STEP: f64 = 0.1;

impl Physics {
    /// Parked, with the ignition on.
    pub(crate) fn parked(charge: f64, ambient_c: f64, idle_rpm: f64) -> Self {
        let mut physics = Self {
            target_kmh: 0.0,
            speed_kmh: 0.0,
            rpm: idle_rpm,
            current_a: 0.0,
            charge,
            coolant_c: 82.0,
            ambient_c,
            idle_rpm,
        };
        physics.step(0.0);
        physics
    }

    /// Advances by this number of milliseconds, at most an hour.
    pub(crate) fn pass(&mut self, millis: u64) {
        let mut left = (millis.min(3_600_000) as f64) / 1000.0;
        while left > 0.0 {
            self.step(left.min(STEP));
            left -= STEP;
        }
    }

    fn step(&mut self, seconds: f64) {
        let change = (self.target_kmh - self.speed_kmh).clamp(-ACCELERATION * seconds, ACCELERATION * seconds);
        self.speed_kmh = (self.speed_kmh + change).max(0.0);
        // Five gears of 40 km/h each; in gear the revolutions follow the wheels.
        let gear = (self.speed_kmh / 40.0).floor().min(4.0) + 1.0;
        self.rpm = if self.speed_kmh < 1.0 { self.idle_rpm } else { 900.0 + self.speed_kmh * 60.0 / gear };
        // 4 A at rest; drag grows with the square of the speed; accelerating takes current, braking returns it.
        let gained = if seconds > 0.0 { change / seconds } else { 0.0 };
        self.current_a = 4.0 + 0.012 * self.speed_kmh * self.speed_kmh + 9.0 * gained;
        self.charge = (self.charge - self.current_a * seconds / 3600.0 / CAPACITY * 100.0).clamp(0.0, 100.0);
        let heat = 0.004 * self.current_a.abs() * seconds;
        let towards = self.ambient_c + 60.0;
        self.coolant_c += heat + (towards - self.coolant_c) * (seconds / COOLING).min(1.0);
        self.coolant_c = self.coolant_c.clamp(-40.0, 130.0);
    }

    pub(crate) fn is_moving(&self) -> bool {
        self.speed_kmh >= 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn it_stays_within_what_a_vehicle_can_be(legs in proptest::collection::vec((0.0..250.0_f64, 0..600_000_u64), 0..20)) {
            let mut physics = Physics::parked(80.0, 18.0, 800.0);
            for (target, millis) in legs {
                physics.target_kmh = target;
                let charge = physics.charge;
                physics.pass(millis);
                proptest::prop_assert!((0.0..=250.0).contains(&physics.speed_kmh));
                proptest::prop_assert!((500.0..=16_383.0).contains(&physics.rpm), "fits in F40C: {}", physics.rpm);
                proptest::prop_assert!((-40.0..=130.0).contains(&physics.coolant_c));
                proptest::prop_assert!((0.0..=100.0).contains(&physics.charge) && physics.charge <= charge + 5.0);
            }
        }
    }

    #[test]
    fn driving_is_seen_everywhere() {
        let mut physics = Physics::parked(80.0, 18.0, 800.0);
        let parked = physics.clone();
        physics.target_kmh = 120.0;
        physics.pass(600_000);
        assert!(physics.rpm > parked.rpm && physics.current_a > parked.current_a);
        assert!(physics.charge < parked.charge && physics.coolant_c > parked.coolant_c);
    }
}
