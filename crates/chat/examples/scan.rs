//! Measures the scanner of event streams: bytes a second on a stream as models send it, and on lines of growing length.

#![expect(clippy::print_stdout, reason = "a program that prints its results")]

#[expect(dead_code, reason = "the service uses all of it")]
#[path = "../src/upstream/sse.rs"]
mod sse;

use std::time::Instant;

/// What one read from a socket returns.
const READ: usize = 16 << 10;

fn main() {
    let chunk = "data: {\"id\":\"chatcmpl-7QyqpwdfhqwajicIEznoc6Q47XAyW\",\"object\":\"chat.completion.chunk\",\"created\":1677664795,\
                 \"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"},\"finish_reason\":null}]}\n\n";
    measure("events of 200 bytes", &chunk.repeat((256 << 20) / chunk.len()));
    for size in [1 << 20, 4 << 20, 16 << 20] {
        let event = format!("data: {{\"content\":\"{}\"}}\n\n", "x".repeat(size));
        measure(&format!("events of {} MiB", size >> 20), &event.repeat((256 << 20) / event.len()));
    }
}

fn measure(name: &str, stream: &str) {
    let best = (0..5).map(|_| {
        let mut scanner = sse::Scanner::new(32 << 20);
        let (start, mut events) = (Instant::now(), 0);
        for piece in stream.as_bytes().chunks(READ) {
            scanner.push(piece);
            while let Some(event) = scanner.next().expect("no event is too long") {
                events += usize::from(!event.data.is_empty());
            }
        }
        assert_eq!(events, stream.matches("\n\n").count());
        stream.len() as f64 / start.elapsed().as_secs_f64() / 1e9
    });
    println!("scanner: {name}: {:.2} GB/s (best of 5)", best.fold(0.0, f64::max));
}
