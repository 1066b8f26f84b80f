//! `google.protobuf.Timestamp` and `jiff::Timestamp`.

use jiff::Timestamp;

/// Protobuf counts nanoseconds forward, also before 1970; jiff gives seconds and nanoseconds the same sign.
pub fn to_protobuf(at: Timestamp) -> prost_types::Timestamp {
    let (mut seconds, mut nanos) = (at.as_second(), at.subsec_nanosecond());
    if nanos < 0 {
        (seconds, nanos) = (seconds - 1, nanos + 1_000_000_000);
    }
    prost_types::Timestamp { seconds, nanos }
}

/// `None` for a time outside jiff's range.
pub fn from_protobuf(at: prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(at.seconds, at.nanos).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_survives_the_conversion() {
        for nanoseconds in [0, 1, -1, 1_500_000_000, -1_500_000_000, 1_763_700_000_123_456_789] {
            let at = Timestamp::from_nanosecond(nanoseconds).expect("in range");
            let sent = to_protobuf(at);
            assert!((0..1_000_000_000).contains(&sent.nanos), "{sent:?}");
            assert_eq!(from_protobuf(sent), Some(at));
        }
    }
}
