//! Frames of RFC 6455 as a server sends them: complete and not masked, so that every client gets the same bytes.

use bytes::Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::{
    CloseFrame, Frame,
    coding::{Control, Data, OpCode},
};

use super::{ending::Close, protobuf};

/// A text frame: header and payload in one piece of memory.
pub(crate) fn text(payload: impl Into<Bytes>) -> Bytes {
    encode(Frame::message(payload, OpCode::Data(Data::Text), true))
}

pub(crate) fn binary(payload: impl Into<Bytes>) -> Bytes {
    encode(Frame::message(payload, OpCode::Data(Data::Binary), true))
}

pub(crate) fn ping() -> Bytes {
    encode(Frame::ping(Bytes::new()))
}

/// The frame that closes a socket. A client that has closed the socket itself gets its answer elsewhere.
pub(crate) fn close(close: &Close) -> Bytes {
    encode(Frame::close(Some(CloseFrame { code: close.code().into(), reason: close.reason().into() })))
}

fn encode(frame: Frame) -> Bytes {
    let mut bytes = Vec::with_capacity(frame.len());
    // A frame of a server is not masked, and a Vec takes every write.
    let _ = frame.format(&mut bytes);
    bytes.into()
}

/// Whether the frame at the start of `bytes` closes the socket.
pub(crate) fn is_close(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| first & 0x0f == u8::from(OpCode::Control(Control::Close)))
}

/// The length of the header of the frame at the start of `bytes`, a frame of this module.
pub(crate) fn header_len(bytes: &[u8]) -> usize {
    match bytes[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    }
}

/// The length of the frame at the start of `bytes`, a frame of this module.
fn frame_len(bytes: &[u8]) -> usize {
    let payload = match bytes[1] {
        126 => u64::from(u16::from_be_bytes([bytes[2], bytes[3]])),
        127 => bytes[2..10].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        short => u64::from(short),
    };
    header_len(bytes) + usize::try_from(payload).unwrap_or(usize::MAX)
}

/// Where the last frame ends of which at least one byte is among the first `written` bytes.
pub(crate) fn frames_begun(bytes: &[u8], written: usize) -> usize {
    let mut end = 0;
    while end < written {
        end += frame_len(&bytes[end..]);
    }
    end
}

/// Like [`frames_begun`] for frames of events, and the number of the events in them: one in a text frame, one or more in a binary
/// frame.
pub(crate) fn events_begun(bytes: &[u8], written: usize) -> (usize, u64) {
    let end = frames_begun(bytes, written);
    let (mut at, mut count) = (0, 0);
    while at < end {
        let frame = &bytes[at..at + frame_len(&bytes[at..])];
        let is_binary = frame[0] & 0x0f == u8::from(OpCode::Data(Data::Binary));
        count += if is_binary { protobuf::count(&frame[header_len(frame)..]) } else { 1 };
        at += frame.len();
    }
    (end, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_are_measured() {
        let frames: Vec<_> =
            [0, 1, 125, 126, 127, 65_535, 65_536, 100_000].map(|length| text(vec![b'x'; length])).into();
        let joined = frames.concat();
        let mut start = 0;
        for (nth, frame) in (1..).zip(&frames) {
            let end = start + frame.len();
            for written in [start + 1, end] {
                assert_eq!(events_begun(&joined, written), (end, nth), "{} bytes", frame.len());
            }
            assert!(joined[start + header_len(&joined[start..])..end].iter().all(|byte| *byte == b'x'));
            start = end;
        }
        assert_eq!(events_begun(&joined, 0), (0, 0));
        assert!(is_close(&close(&Close::Done)) && !is_close(&frames[0]) && !is_close(&ping()));
    }
}
