//! Vehicle identification numbers with a valid check digit (ISO 3779, 49 CFR 565.15).

/// Characters of a VIN: no I, O, Q, which look like digits.
#[cfg(test)]
pub(crate) const ALPHABET: &[u8; 33] = b"ABCDEFGHJKLMNPRSTUVWXYZ0123456789";
const WEIGHTS: [u32; 17] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
/// Model years from 2010 on, one letter or digit each.
const YEARS: &[u8; 30] = b"ABCDEFGHJKLMNPRSTVWXY123456789";

/// A VIN of a manufacturer (3 characters), a descriptor (5), a model year (2010–2039), a plant and a serial number (up to six
/// digits).
pub(crate) fn vin(manufacturer: &str, descriptor: &str, year: u32, plant: char, serial: u32) -> String {
    let year = YEARS[(year - 2010) as usize % YEARS.len()] as char;
    let draft = format!("{manufacturer:0<3.3}{descriptor:0<5.5}0{year}{plant}{:06}", serial % 1_000_000);
    let check = check_digit(&draft);
    format!("{}{check}{}", &draft[..8], &draft[9..])
}

/// The ninth character: the weighted sum of the others modulo 11, X for ten.
pub(crate) fn check_digit(vin: &str) -> char {
    let sum: u32 = vin.bytes().zip(WEIGHTS).map(|(byte, weight)| value(byte) * weight).sum();
    match sum % 11 {
        10 => 'X',
        digit => char::from(b'0' + digit as u8),
    }
}

/// Letters count 1–9 in three rows, the last of which begins with 2.
fn value(byte: u8) -> u32 {
    match byte {
        b'0'..=b'9' => u32::from(byte - b'0'),
        b'A'..=b'H' => u32::from(byte - b'A') + 1,
        b'J'..=b'R' => u32::from(byte - b'J') + 1,
        b'S'..=b'Z' => u32::from(byte - b'S') + 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_digit_of_known_vins() {
        for known in ["1M8GDM9AXKP042788", "11111111111111111", "5GZCZ43D13S812715"] {
            assert_eq!(Some(check_digit(known)), known.chars().nth(8), "{known}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_vin_is_well_formed(serial: u32, year in 2010_u32..2040) {
            let vin = vin("WTP", "EV1A2", year, 'M', serial);
            proptest::prop_assert_eq!(vin.len(), 17);
            proptest::prop_assert!(vin.bytes().all(|b| ALPHABET.contains(&b)));
            proptest::prop_assert_eq!(Some(check_digit(&vin)), vin.chars().nth(8));
        }
    }
}
