//! Times as protobuf has them.

use jiff::Timestamp;

pub(crate) fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    // Every time here is after 1970: nanoseconds are never negative.
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}
