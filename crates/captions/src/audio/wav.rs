//! WAV files, decoded piece by piece, so that a long file costs no more memory than its bytes.

use std::io::Cursor;

use hound::{SampleFormat, WavReader};

use super::resampler::Resampler;
use crate::engine::RATE;

/// Silence that pushes the end of the audio through the resampler's filter, in samples.
const TAIL: usize = 1024;

/// Why a file cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidWav {
    #[error("must be a WAV file (PCM or float)")]
    NotWav,
    #[error("must have a rate from 8000 to 96000")]
    Rate,
    #[error("must have 1 to 8 channels")]
    Channels,
}

/// The header of a WAV file with so many bytes of samples of engines, 16 bits each.
pub(crate) fn wav_header(length: u32) -> Vec<u8> {
    let mut header = Vec::with_capacity(44);
    header.extend(b"RIFF");
    header.extend(length.saturating_add(36).to_le_bytes());
    header.extend(b"WAVEfmt ");
    header.extend(16_u32.to_le_bytes());
    header.extend([1_u16, 1].iter().flat_map(|field| field.to_le_bytes())); // PCM, one channel
    header.extend([RATE, RATE * 2].iter().flat_map(|field| field.to_le_bytes()));
    header.extend([2_u16, 16].iter().flat_map(|field| field.to_le_bytes()));
    header.extend(b"data");
    header.extend(length.to_le_bytes());
    header
}

/// Samples as 16-bit integers, little-endian.
pub(crate) fn bytes(pcm: &[f32]) -> Vec<u8> {
    let sample = |sample: &f32| ((sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16).to_le_bytes();
    pcm.iter().flat_map(sample).collect()
}

/// The audio of a file for engines, at their rate: the mean of its channels, a second at a time.
pub(crate) struct Wav {
    samples: Box<dyn Iterator<Item = f32> + Send>,
    channels: usize,
    rate: u32,
    frames: u64,
    resampler: Option<Resampler>,
    ended: bool,
}

impl Wav {
    pub(crate) fn open(file: impl AsRef<[u8]> + Send + 'static) -> Result<Self, InvalidWav> {
        let bytes = file.as_ref().len() as u64;
        let reader = WavReader::new(Cursor::new(file)).map_err(|_| InvalidWav::NotWav)?;
        let spec = reader.spec();
        if !(8_000..=96_000).contains(&spec.sample_rate) {
            return Err(InvalidWav::Rate);
        }
        if !(1..=8).contains(&spec.channels) {
            return Err(InvalidWav::Channels);
        }
        // A file that was cut, or whose header was written before its end was known, has the samples that it has.
        let width = u64::from(spec.channels) * u64::from(spec.bits_per_sample.div_ceil(8)).max(1);
        let frames = u64::from(reader.duration()).min(bytes / width);
        let samples: Box<dyn Iterator<Item = f32> + Send> = match spec.sample_format {
            SampleFormat::Float => Box::new(reader.into_samples::<f32>().map_while(Result::ok)),
            SampleFormat::Int => {
                let scale = 2.0_f32.powi(1 - i32::from(spec.bits_per_sample));
                Box::new(reader.into_samples::<i32>().map_while(Result::ok).map(move |sample| sample as f32 * scale))
            }
        };
        let resampler = (spec.sample_rate != RATE).then(|| Resampler::new(spec.sample_rate, RATE));
        let (channels, rate) = (usize::from(spec.channels), spec.sample_rate);
        Ok(Self { samples, channels, rate, frames, resampler, ended: false })
    }

    /// The length by the header, or by the size of the file if that is less.
    pub(crate) fn duration_ms(&self) -> u64 {
        self.frames * 1000 / u64::from(self.rate)
    }

    /// The mean of the channels at one moment.
    fn frame(&mut self) -> Option<f32> {
        let mut sum = 0.0;
        for _ in 0..self.channels {
            sum += self.samples.next()?;
        }
        Some(sum / self.channels as f32)
    }
}

impl Iterator for Wav {
    type Item = Vec<f32>;

    fn next(&mut self) -> Option<Vec<f32>> {
        if self.ended {
            return None;
        }
        let second = self.rate as usize;
        let mut mono = Vec::with_capacity(second + TAIL);
        while mono.len() < second
            && let Some(frame) = self.frame()
        {
            mono.push(frame);
        }
        self.ended = mono.len() < second;
        Some(match &mut self.resampler {
            None => mono,
            Some(resampler) => {
                if self.ended {
                    mono.resize(mono.len() + TAIL, 0.0);
                }
                resampler.process(&mono)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use hound::{WavSpec, WavWriter};

    use super::*;

    fn file(spec: WavSpec, seconds: f64) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut bytes, spec).expect("a writer");
        for n in 0..(f64::from(spec.sample_rate) * seconds) as usize {
            let tone = (n as f32 * 440.0 * std::f32::consts::TAU / spec.sample_rate as f32).sin() * 0.5;
            for _ in 0..spec.channels {
                let written = match spec.sample_format {
                    SampleFormat::Float => writer.write_sample(tone),
                    SampleFormat::Int => {
                        writer.write_sample((tone * 2.0_f32.powi(i32::from(spec.bits_per_sample) - 1)) as i32)
                    }
                };
                written.expect("written");
            }
        }
        writer.finalize().expect("written");
        bytes.into_inner()
    }

    #[test]
    fn every_kind_of_file_has_the_same_sound() {
        let kinds = [(16_000, 1, 16), (16_000, 2, 8), (44_100, 2, 24), (48_000, 1, 32), (8_000, 1, 16)];
        for (sample_rate, channels, bits_per_sample) in kinds {
            for sample_format in [SampleFormat::Int, SampleFormat::Float] {
                if sample_format == SampleFormat::Float && bits_per_sample != 32 {
                    continue;
                }
                let spec = WavSpec { channels, sample_rate, bits_per_sample, sample_format };
                let wav = Wav::open(file(spec, 2.5)).expect("a file");
                assert_eq!(wav.duration_ms(), 2_500, "{spec:?}");
                let pcm: Vec<f32> = wav.flatten().collect();
                assert!((39_000..=42_200).contains(&pcm.len()), "{spec:?}: {}", pcm.len());
                let middle = &pcm[8_000..32_000];
                let rms = (middle.iter().map(|sample| sample * sample).sum::<f32>() / middle.len() as f32).sqrt();
                assert!((rms - 0.354).abs() < 0.01, "{spec:?}: {rms}");
            }
        }
    }

    #[test]
    fn a_file_that_was_cut_has_its_samples_and_others_are_refused() {
        let spec = WavSpec { channels: 1, sample_rate: 16_000, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let mut cut = file(spec, 2.0);
        cut.truncate(44 + 32_000);
        let wav = Wav::open(cut).expect("a file");
        assert!((1_000..=1_002).contains(&wav.duration_ms()), "{}", wav.duration_ms());
        assert_eq!(wav.flatten().count(), 16_000);
        let kind = |file: Vec<u8>| Wav::open(file).err();
        assert_eq!(kind(b"ID3 an MP3 file".to_vec()), Some(InvalidWav::NotWav));
        assert_eq!(kind(file(WavSpec { sample_rate: 4_000, ..spec }, 0.1)), Some(InvalidWav::Rate));
        assert_eq!(kind(file(WavSpec { channels: 9, ..spec }, 0.1)), Some(InvalidWav::Channels));
    }
}
