//! `?since=`, `Last-Event-ID`, and the name of a topic.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| turnpike_gateway::fuzzing::position(text));
