//! A binary message on `GET /ws`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| turnpike_gateway::fuzzing::binary(bytes));
