//! Measures the speech path on recordings, without the service around it: word errors, latency and processor time, as if the audio
//! arrived in real time.
//!
//!     cargo run --release -p turnpike-captions --example accuracy -- MODEL RECORDINGS…
//!
//! Each recording is a WAV file of 16 kHz and 16 bits, whose words are in a file of the same name with the ending `.txt`.
#![allow(clippy::print_stdout, clippy::disallowed_methods, missing_docs, reason = "a measurement")]

use std::{fs, path::Path, time::Instant};

use turnpike_captions::{
    engine::{Engine, moonshine::Moonshine},
    speech::{Captioner, Output},
};

const RATE: usize = 16_000;
/// A frame of a client: 32 ms.
const FRAME: usize = 512;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let model = args.next().ok_or("the folder of the model is missing")?;
    let engine = Moonshine::load(Path::new(&model))?;
    let (mut audio, mut expected) = (silence(0.5), String::new());
    let mut whole = Vec::new();
    for path in args {
        let bytes = fs::read(&path)?;
        let clip: Vec<f32> = bytes[44..]
            .chunks_exact(2)
            .map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32768.0)
            .collect();
        expected.push_str(&fs::read_to_string(Path::new(&path).with_extension("txt"))?);
        expected.push(' ');
        whole.push(clip.clone());
        audio.extend(clip);
        audio.extend(silence(0.9));
    }
    let mut offline = String::new();
    let begun = cpu();
    for clip in &whole {
        let mut stream = engine.open("en");
        stream.begin_segment();
        for word in stream.finalize(clip, 0)?.words {
            offline.push_str(&word.text);
            offline.push(' ');
        }
    }
    let seconds = whole.iter().map(Vec::len).sum::<usize>() as f64 / RATE as f64;
    println!(
        "offline  WER {:.1} %  {:.3} of real time",
        100.0 * errors(&expected, &offline),
        (cpu() - begun) / seconds
    );

    let mut captioner = Captioner::new(engine.open("en"), 0, 0);
    let (mut text, mut first, mut last, mut shown) = (String::new(), Vec::new(), Vec::new(), 0);
    // The time until which the engine is busy, in seconds of audio.
    let mut clock = 0.0_f64;
    let (begun, mut partials, mut committed) = (cpu(), 0, String::new());
    for (n, frame) in audio.chunks(FRAME).enumerate() {
        let now = ((n + 1) * FRAME) as f64 / RATE as f64;
        let started = Instant::now();
        let mut outputs = captioner.listen(frame)?;
        if clock <= now {
            outputs.extend(captioner.partial(&|| false)?);
        }
        clock = clock.max(now) + started.elapsed().as_secs_f64();
        for output in outputs {
            match output {
                Output::Partial { segment, onset, committed: words, .. } => {
                    partials += 1;
                    if segment > shown {
                        shown = segment;
                        first.push(clock - onset as f64 / RATE as f64);
                    }
                    assert!(words.starts_with(&committed), "{committed:?} then {words:?}");
                    committed = words;
                }
                Output::Final { caption, reason, spoken_until, .. } => {
                    assert!(caption.text.starts_with(&committed), "{committed:?} then {:?}", caption.text);
                    committed.clear();
                    last.push(clock - spoken_until as f64 / RATE as f64);
                    println!(
                        "  {:6.2}–{:6.2} {reason:11} {}",
                        caption.span.start_ms as f64 / 1000.0,
                        caption.span.end_ms as f64 / 1000.0,
                        caption.text
                    );
                    text.push_str(&caption.text);
                    text.push(' ');
                }
            }
        }
    }
    let seconds = audio.len() as f64 / RATE as f64;
    println!(
        "live     WER {:.1} %  {:.3} core  {partials} partials in {seconds:.0} s  first caption {}  final {}",
        100.0 * errors(&expected, &text),
        (cpu() - begun) / seconds,
        spread(first),
        spread(last),
    );
    Ok(())
}

fn silence(seconds: f64) -> Vec<f32> {
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state as f32 / u32::MAX as f32 - 0.5) * 3e-4
    };
    (0..(seconds * RATE as f64) as usize).map(|_| noise()).collect()
}

/// Processor time of this process, in seconds.
fn cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    [11, 12].iter().filter_map(|n| fields.get(*n)?.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values.get((values.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN) * 1000.0;
    format!("p50 {:.0} ms, p95 {:.0} ms", at(0.5), at(0.95))
}

/// Word error rate: edits divided by the words of the reference.
fn errors(expected: &str, heard: &str) -> f64 {
    let (expected, heard) = (words(expected), words(heard));
    let mut row: Vec<usize> = (0..=heard.len()).collect();
    for said in &expected {
        let mut diagonal = row[0];
        row[0] += 1;
        for (n, word) in heard.iter().enumerate() {
            let cost = diagonal + usize::from(word != said);
            diagonal = row[n + 1];
            row[n + 1] = cost.min(row[n] + 1).min(row[n + 1] + 1);
        }
    }
    row[heard.len()] as f64 / expected.len().max(1) as f64
}

fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase().replace("mr.", "mister").replace('-', " ");
    let letters = |c: char| if c.is_ascii_lowercase() || c == '\'' { c } else { ' ' };
    text.chars().map(letters).collect::<String>().split_whitespace().map(str::to_owned).collect()
}
