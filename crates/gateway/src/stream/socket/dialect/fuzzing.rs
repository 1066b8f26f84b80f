//! What fuzz targets call, as in `../fuzzing.rs`: the messages of a whole socket.

use bytes::Bytes;
use tokio_tungstenite::tungstenite::Message;

use super::{
    Dialect, Read,
    deepgram::{Deepgram, Options},
    vosk::Vosk,
};

/// The options of the handshake from the first byte, and messages.
pub fn deepgram(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let pick = |bit: u8| first & 1 << bit != 0;
    let options = Options {
        encoding: pick(0).then(|| if pick(1) { "linear16" } else { "linear32" }.to_owned()),
        sample_rate: pick(2).then_some(if pick(3) { 16_000 } else { 7_999 }),
        channels: pick(4).then_some(1),
        language: None,
        interim_results: Some(pick(5)),
        token: None,
    };
    if let Ok(deepgram) = Deepgram::new(options) {
        read(deepgram, rest);
    }
}

/// Messages.
pub fn vosk(input: &[u8]) {
    read(Vosk::new(), input);
}

fn read(mut dialect: impl Dialect, input: &[u8]) {
    for message in messages(input) {
        let sent = message.len();
        match dialect.read(message) {
            Ok(Read::Audio(audio)) => {
                assert!(audio.len() <= sent, "more audio than was sent");
                let audio = dialect.opening().audio.expect("the format of the audio");
                assert!((8_000..=96_000).contains(&audio.sample_rate), "{} Hz", audio.sample_rate);
                let _ = dialect.answer();
            }
            Ok(_) => {}
            Err(fault) => {
                let _ = dialect.fail(&fault);
                return;
            }
        }
    }
    let _ = dialect.end();
}

/// Each message has two bytes before it: its length, and in the highest bit whether it is a text.
fn messages(mut input: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some((header, rest)) = input.split_first_chunk::<2>() {
        let header = u16::from_be_bytes(*header);
        let (message, rest) = rest.split_at(usize::from(header & 0x7fff).min(rest.len()));
        messages.push(match std::str::from_utf8(message) {
            Ok(text) if header >= 0x8000 => Message::text(text),
            _ => Message::Binary(Bytes::copy_from_slice(message)),
        });
        input = rest;
    }
    messages
}
