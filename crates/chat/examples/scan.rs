//! Measures the scanner of server-sent events: `cargo run --release -p turnpike-chat --example scan`.

#![expect(clippy::print_stdout, reason = "its result")]
#![allow(dead_code, reason = "the scanner has more than is measured here")]

#[path = "../src/upstream/sse.rs"]
mod sse;

use std::hint::black_box;

const CHUNK: &str = r#"data: {"id":"chatcmpl-8f2c1a","object":"chat.completion.chunk","created":1763700000,"model":"some-model","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}]}"#;
const TOTAL: usize = 2 << 30;

/// Seconds that this thread was on a processor: other programs do not count (Linux).
fn on_cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    text.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).expect("a number") / 1e9
}

fn main() {
    let events = format!("{CHUNK}\n\n").repeat(64);
    let long = format!("data: \"{}\"\n\n", "x".repeat(10 << 20));
    for (what, text, part) in [
        ("events of 190 bytes, read by 16 KiB", &events, 16 << 10),
        ("events of 190 bytes, one a read", &events, CHUNK.len() + 2),
        ("lines of 10 MiB, read by 16 KiB", &long, 16 << 10),
        ("lines of 10 MiB, read by 100 bytes", &long, 100),
    ] {
        let mut scanner = sse::Scanner::new(16 << 20);
        let (mut bytes, mut count) = (0, 0_u64);
        let began = on_cpu();
        while bytes < TOTAL {
            for part in text.as_bytes().chunks(part) {
                scanner.push(part);
                while let Some(event) = scanner.next().expect("short") {
                    count += u64::from(!black_box(event).data.is_empty());
                }
            }
            bytes += text.len();
        }
        let seconds = on_cpu() - began;
        println!("{what}: {:.2} GB/s, {count} events", bytes as f64 / seconds / 1e9);
    }
}
