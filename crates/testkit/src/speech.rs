//! The speech model and recordings of speech, which `scripts/test` provides.

use std::{env, fs, path::PathBuf};

/// The folder of the speech model.
///
/// # Panics
///
/// If there is no model: tests of captions fail without it.
pub fn captions_model() -> PathBuf {
    let given = env::var("TURNPIKE_TEST_CAPTIONS_MODEL").ok().map(PathBuf::from);
    let cache = || {
        let home = env::var("XDG_CACHE_HOME").or_else(|_| env::var("HOME").map(|home| format!("{home}/.cache")));
        PathBuf::from(home.expect("HOME is set")).join("turnpike/models/moonshine-tiny-en")
    };
    let folder = given.unwrap_or_else(cache);
    assert!(
        folder.join("encoder.onnx").exists(),
        "there is no speech model in {}: run ./scripts/captions-model --into {0}",
        folder.display()
    );
    folder
}

/// A recording of a person who reads: 16-bit samples of 16 kHz, and what is said.
#[derive(Clone, Debug)]
pub struct Recording {
    pub samples: Vec<i16>,
    pub text: String,
}

/// Five sentences of a public-domain audio book, from Debian's `pocketsphinx-testdata`.
///
/// # Panics
///
/// If the package is not installed.
pub fn recordings() -> Vec<Recording> {
    let folder = PathBuf::from("/usr/share/pocketsphinx/test/data/librivox");
    let transcription = fs::read_to_string(folder.join("transcription"));
    let transcription =
        transcription.expect("the package pocketsphinx-testdata is installed; ./scripts/test installs it");
    let recording = |line: &str| {
        let (text, name) =
            line.rsplit_once('(').expect("a line of a transcription ends with the name of its recording");
        let wav = fs::read(folder.join(format!("{}.wav", name.trim_end_matches(')')))).expect("the recording is there");
        let text = text.replace("<s>", "").replace("</s>", "").trim().to_owned();
        let samples = wav[44..].chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]])).collect();
        Recording { samples, text }
    };
    transcription.lines().filter(|line| line.contains('(')).map(recording).collect()
}

/// A WAV file of one channel, 16 bits and 16 kHz.
pub fn wav(samples: &[i16]) -> Vec<u8> {
    let data = pcm(samples);
    let length = u32::try_from(data.len()).expect("a short recording");
    let mut file = Vec::with_capacity(data.len() + 44);
    for part in [
        &b"RIFF"[..],
        &(length + 36).to_le_bytes(),
        b"WAVEfmt ",
        &16_u32.to_le_bytes(),
        &1_u16.to_le_bytes(),
        &1_u16.to_le_bytes(),
        &16_000_u32.to_le_bytes(),
        &32_000_u32.to_le_bytes(),
        &2_u16.to_le_bytes(),
        &16_u16.to_le_bytes(),
        b"data",
        &length.to_le_bytes(),
        &data,
    ] {
        file.extend_from_slice(part);
    }
    file
}

/// Little-endian bytes of samples.
pub fn pcm(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// Edits for each word that was said (word error rate), without case and punctuation.
pub fn word_errors(said: &str, heard: &str) -> f64 {
    let (said, heard) = (words(said), words(heard));
    let mut row: Vec<usize> = (0..=heard.len()).collect();
    for word in &said {
        let mut diagonal = row[0];
        row[0] += 1;
        for (n, other) in heard.iter().enumerate() {
            let cost = diagonal + usize::from(other != word);
            diagonal = row[n + 1];
            row[n + 1] = cost.min(row[n] + 1).min(row[n + 1] + 1);
        }
    }
    row[heard.len()] as f64 / said.len().max(1) as f64
}

fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase().replace("mr.", "mister").replace('-', " ");
    let letter = |c: char| if c.is_ascii_lowercase() || c == '\'' { c } else { ' ' };
    text.chars().map(letter).collect::<String>().split_whitespace().map(str::to_owned).collect()
}
