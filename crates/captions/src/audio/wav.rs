//! WAV files.

use std::io::Cursor;

use hound::{SampleFormat, WavReader};

use super::resampler::Resampler;
use crate::engine::RATE;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidWav {
    #[error("must be a WAV file (PCM or float)")]
    NotWav,
    #[error("must have a rate from 8000 to 96000")]
    Rate,
    #[error("must have 1 to 8 channels")]
    Channels,
}

/// The samples of a WAV file for engines: the mean of its channels, at their rate.
pub(crate) fn read(file: &[u8]) -> Result<Vec<f32>, InvalidWav> {
    let mut reader = WavReader::new(Cursor::new(file)).map_err(|_| InvalidWav::NotWav)?;
    let spec = reader.spec();
    if !(8_000..=96_000).contains(&spec.sample_rate) {
        return Err(InvalidWav::Rate);
    }
    if !(1..=8).contains(&spec.channels) {
        return Err(InvalidWav::Channels);
    }
    // A file that was cut, or whose header was written before its end was known, has the samples that it has.
    let samples: Vec<f32> = match spec.sample_format {
        SampleFormat::Float => reader.samples::<f32>().map_while(Result::ok).collect(),
        SampleFormat::Int => {
            let scale = 2.0_f32.powi(1 - i32::from(spec.bits_per_sample));
            reader.samples::<i32>().map_while(Result::ok).map(|sample| sample as f32 * scale).collect()
        }
    };
    let channels = usize::from(spec.channels);
    let mut mono: Vec<f32> =
        samples.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() / channels as f32).collect();
    if spec.sample_rate != RATE {
        mono.resize(mono.len() + 1024, 0.0); // pushes the end through the filter
        mono = Resampler::new(spec.sample_rate, RATE).process(&mono);
    }
    Ok(mono)
}
