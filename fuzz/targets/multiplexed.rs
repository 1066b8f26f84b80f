//! A text message on `GET /ws`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| turnpike_gateway::fuzzing::multiplexed(text));
