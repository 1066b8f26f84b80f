//! A record as bytes: a `turnpike.event.v1.Record`. A stream entry, a Pub/Sub message and the memory backend hold the same bytes.

use std::hash::{DefaultHasher, Hasher};

use bytes::Bytes;
use prost::Message;
use turnpike_topic::Offset;

/// A record whose event is encoded.
pub type Record = turnpike_topic::Record<Bytes>;

/// Distinguishes a record from another one at the same offset: a Redis that lost its newest events gives their offsets to other
/// events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(u64);

impl Fingerprint {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        Self(hasher.finish())
    }
}

/// Bytes that are not a record: another program writes under the names of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a turnpike.event.v1.Record")]
pub(crate) struct NotARecord;

/// The event as field 1 of a record. publish.lua appends the other fields, because only Redis knows the offset.
pub(crate) fn event_field(event: &[u8]) -> Vec<u8> {
    let mut field = Vec::with_capacity(event.len() + 32);
    field.push(0x0a);
    prost::encoding::encode_varint(event.len() as u64, &mut field);
    field.extend_from_slice(event);
    field
}

/// The first byte of a notice, which is no record. A record begins with the tag of its first field.
const NOTICE: u8 = 0;

/// The message that carries a notice on the channel of a topic.
pub(crate) fn notice(event: &[u8]) -> Vec<u8> {
    [&[NOTICE], event].concat()
}

/// The event of a message that is a notice.
pub(crate) fn notice_event(message: &Bytes) -> Option<Bytes> {
    (message.first() == Some(&NOTICE)).then(|| message.slice(1..))
}

/// The order and the fixed widths are those of publish.lua.
pub(crate) fn encode(offset: Offset, is_final: bool, event: &[u8]) -> Bytes {
    let mut bytes = event_field(event);
    bytes.push(0x11);
    bytes.extend_from_slice(&offset.epoch.to_le_bytes());
    bytes.push(0x19);
    bytes.extend_from_slice(&offset.n.to_le_bytes());
    if is_final {
        bytes.extend_from_slice(&[0x20, 1]);
    }
    bytes.into()
}

pub(crate) fn decode(mut bytes: Bytes) -> Result<Record, NotARecord> {
    let Fields { event, epoch, n, r#final } = Fields::decode(&mut bytes).map_err(|_| NotARecord)?;
    if epoch == 0 || n == 0 {
        return Err(NotARecord);
    }
    Ok(Record { offset: Offset { epoch, n }, is_final: r#final, event })
}

/// `turnpike.event.v1.Record` with its event left as bytes: a message field and a bytes field look the same.
#[derive(Clone, PartialEq, Message)]
struct Fields {
    #[prost(bytes = "bytes", tag = "1")]
    event: Bytes,
    #[prost(fixed64, tag = "2")]
    epoch: u64,
    #[prost(fixed64, tag = "3")]
    n: u64,
    #[prost(bool, tag = "4")]
    r#final: bool,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use turnpike_proto::event::v1 as pb;

    use super::*;

    fn any_record() -> impl Strategy<Value = Record> {
        (1..u64::MAX, 1..u64::MAX, any::<bool>(), any::<Vec<u8>>()).prop_map(|(epoch, n, is_final, event)| Record {
            offset: Offset { epoch, n },
            is_final,
            event: event.into(),
        })
    }

    proptest! {
        #[test]
        fn a_decoded_record_is_the_one_that_was_encoded(record in any_record()) {
            prop_assert_eq!(decode(encode(record.offset, record.is_final, &record.event)), Ok(record));
        }

        #[test]
        fn a_record_is_the_message_of_the_schema(record in any_record(), number: u32) {
            let response = pb::CommandResponse { sequence_number: number, ..pb::CommandResponse::default() };
            let event = pb::Event { body: Some(pb::event::Body::CommandResponse(response)), ..pb::Event::default() };
            let bytes = encode(record.offset, record.is_final, &event.encode_to_vec());
            let Offset { epoch, n } = record.offset;
            prop_assert_eq!(pb::Record::decode(bytes), Ok(pb::Record { event: Some(event), epoch, n, r#final: record.is_final }));
        }

        #[test]
        fn any_bytes_are_decoded_without_panic(bytes: Vec<u8>) {
            let _ = decode(bytes.into());
        }
    }
}
