//! The event stream of a model server: however it is cut into reads, the events are the same, and their lengths are bounded.

#![no_main]

#[allow(dead_code, reason = "the scanner has tests of its own")]
#[path = "../../crates/chat/src/upstream/sse.rs"]
mod sse;

use libfuzzer_sys::fuzz_target;
use sse::{Event, Scanner};

const LIMIT: usize = 4096;

/// The events, and whether the scanner has given up.
fn scan<'a>(reads: impl Iterator<Item = &'a [u8]>) -> (Vec<Event>, bool) {
    let (mut scanner, mut events) = (Scanner::new(LIMIT), Vec::new());
    for read in reads {
        scanner.push(read);
        loop {
            match scanner.next() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(_) => return (events, true),
            }
        }
    }
    events.extend(scanner.finish());
    (events, false)
}

fuzz_target!(|input: &[u8]| {
    let Some((length, stream)) = input.split_first() else { return };
    let (whole, gave_up) = scan(std::iter::once(stream));
    let (cut, cut_gave_up) = scan(stream.chunks(usize::from(*length).max(1)));
    let fields =
        |events: &[Event]| events.iter().map(|event| (event.name.clone(), event.data.clone())).collect::<Vec<_>>();
    if !gave_up && !cut_gave_up {
        assert_eq!(fields(&whole), fields(&cut));
    }
    for event in cut.iter().chain(&whole) {
        assert!(event.data.len() <= event.raw.len() && event.name.len() <= event.raw.len());
    }
});
