//! Diagnostic trouble codes, and the fault memory of a control unit.

/// A code of the catalogue.
#[derive(Debug)]
pub(crate) struct Code {
    /// In the notation of SAE J2012.
    pub(crate) name: &'static str,
    /// As control units store it, 3 bytes.
    pub(crate) number: u32,
    pub(crate) meaning: &'static str,
    /// 1 fatal … 4 info.
    pub(crate) severity: u8,
    /// Address of the control unit that detects it.
    pub(crate) ecu: u8,
}

const fn code(name: &'static str, number: u32, meaning: &'static str, severity: u8, ecu: u8) -> Code {
    Code { name, number, meaning, severity, ecu }
}

/// Every code that a simulated vehicle can have.
pub(crate) const CODES: [Code; 6] = [
    code("P0420", 0x04_2000, "Catalyst System Efficiency Below Threshold (Bank 1)", 2, 0x10),
    code("P0171", 0x01_7100, "System Too Lean (Bank 1)", 2, 0x10),
    code("P0300", 0x03_0000, "Random/Multiple Cylinder Misfire Detected", 1, 0x10),
    code("P0A80", 0x0a_8000, "Replace Hybrid/EV Battery Pack", 1, 0x11),
    code("C0035", 0x40_3500, "Left Front Wheel Speed Sensor Circuit", 2, 0x12),
    code("U0100", 0xc1_0000, "Lost Communication With ECM/PCM \"A\"", 1, 0x14),
];

/// The code of a number.
pub(crate) fn find(number: u32) -> Option<&'static Code> {
    CODES.iter().find(|code| code.number == number)
}

/// The number of a code: the letter is its first two bits (SAE J2012: P 00, C 01, B 10, U 11), the last byte is not used here.
pub(crate) fn number(name: &str) -> Option<u32> {
    let letter = match name.as_bytes().first()? {
        b'P' => 0,
        b'C' => 1,
        b'B' => 2,
        b'U' => 3,
        _ => return None,
    };
    let digits = u32::from_str_radix(name.get(1..)?, 16).ok().filter(|_| name.len() == 5)?;
    Some(((letter << 14) | digits) << 8)
}

/// Bits of the status byte (ISO 14229-1, annex D.2).
pub(crate) mod status {
    pub(crate) const FAILED: u8 = 0x01;
    pub(crate) const PENDING: u8 = 0x04;
    pub(crate) const CONFIRMED: u8 = 0x08;
    /// Directly after clearing: not tested since, nor in this cycle.
    pub(crate) const CLEARED: u8 = 0x50;
}

/// One entry of a fault memory.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) code: &'static Code,
    pub(crate) status: u8,
    /// Its cause is still there.
    pub(crate) cause: bool,
    /// Time of the vehicle at which it was cleared.
    pub(crate) cleared_at: Option<u64>,
}

/// A cleared code is tested again after this time of the vehicle, in milliseconds.
const RETEST: u64 = 5_000;

impl Entry {
    pub(crate) fn clear(&mut self, now: u64) {
        (self.status, self.cleared_at) = (status::CLEARED, Some(now));
    }

    /// Runs the test again: the code returns if its cause is still there, else it is removed. Returns whether it stays.
    pub(crate) fn retest(&mut self, now: u64) -> bool {
        match self.cleared_at {
            Some(at) if now >= at + RETEST => {
                (self.status, self.cleared_at) = (status::FAILED | status::PENDING | status::CONFIRMED, None);
                self.cause
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree() {
        for code in &CODES {
            assert_eq!(number(code.name), Some(code.number), "{}", code.name);
        }
        assert_eq!(number("X0420"), None);
        assert_eq!(number("P042"), None);
    }
}
