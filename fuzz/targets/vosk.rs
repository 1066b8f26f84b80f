//! The messages of a socket that speaks the protocol of vosk-server.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| turnpike_gateway::fuzzing::vosk(bytes));
