//! The bytes of a WebSocket after its upgrade.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| turnpike_gateway::fuzzing::connection(bytes));
