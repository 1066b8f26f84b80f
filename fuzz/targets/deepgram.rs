//! The messages of a socket that speaks the protocol of Deepgram.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| turnpike_gateway::fuzzing::deepgram(bytes));
