//! A text message on the socket of a room.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| turnpike_gateway::fuzzing::room(text));
