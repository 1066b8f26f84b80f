//! A text message on the socket of a caption session.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| turnpike_gateway::fuzzing::captions(text));
