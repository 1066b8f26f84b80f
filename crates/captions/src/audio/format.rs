//! The audio of a session: its encoding and its rate.

use super::resampler::Resampler;
use crate::engine::RATE;

/// How a sample is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// 16-bit integers, little-endian.
    #[default]
    S16,
    /// 32-bit floats, little-endian.
    F32,
}

/// One channel of audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    pub encoding: Encoding,
    /// Samples a second.
    pub rate: u32,
}

impl Default for Format {
    fn default() -> Self {
        Self { encoding: Encoding::default(), rate: RATE }
    }
}

/// A rate that is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be from 8000 to 96000")]
pub struct InvalidFormat;

impl Format {
    pub fn new(encoding: Encoding, rate: u32) -> Result<Self, InvalidFormat> {
        match rate {
            0 => Ok(Self { encoding, rate: RATE }),
            8_000..=96_000 => Ok(Self { encoding, rate }),
            _ => Err(InvalidFormat),
        }
    }

    /// Bytes of a sample.
    pub const fn width(self) -> usize {
        match self.encoding {
            Encoding::S16 => 2,
            Encoding::F32 => 4,
        }
    }

    /// Samples of this format in as much time as `samples` of engines.
    pub const fn received_samples(self, samples: u64) -> u64 {
        samples * self.rate as u64 / RATE as u64
    }
}

/// Decodes the audio of a session, which may be cut anywhere.
pub(crate) struct Decoder {
    format: Format,
    /// The beginning of a sample.
    rest: Vec<u8>,
    resampler: Option<Resampler>,
}

impl Decoder {
    pub(crate) fn new(format: Format) -> Self {
        let resampler = (format.rate != RATE).then(|| Resampler::new(format.rate, RATE));
        Self { format, rest: Vec::new(), resampler }
    }

    /// The bytes of the sample that is incomplete are forgotten: the next byte begins a sample.
    pub(crate) fn align(&mut self) {
        self.rest.clear();
    }

    /// The whole samples in `bytes` and what is left of the bytes before.
    pub(crate) fn samples(&mut self, bytes: &[u8]) -> Vec<f32> {
        let width = self.format.width();
        let joined;
        let bytes = if self.rest.is_empty() {
            bytes
        } else {
            joined = [&self.rest[..], bytes].concat();
            &joined
        };
        let (whole, rest) = bytes.split_at(bytes.len() / width * width);
        let samples = match self.format.encoding {
            Encoding::S16 => {
                whole.chunks_exact(2).map(|two| f32::from(i16::from_le_bytes([two[0], two[1]])) / 32768.0).collect()
            }
            Encoding::F32 => whole
                .chunks_exact(4)
                .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
                .map(|sample| if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 })
                .collect(),
        };
        self.rest = rest.to_vec();
        samples
    }

    /// Samples at the rate of engines.
    pub(crate) fn resample(&mut self, samples: Vec<f32>) -> Vec<f32> {
        match &mut self.resampler {
            None => samples,
            Some(resampler) => resampler.process(&samples),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn audio_can_be_cut_anywhere(bytes: Vec<u8>, cuts: Vec<prop::sample::Index>, float: bool) {
            let encoding = if float { Encoding::F32 } else { Encoding::S16 };
            let format = Format { encoding, rate: RATE };
            let whole = Decoder::new(format).samples(&bytes);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let mut decoder = Decoder::new(format);
            let parts: Vec<f32> = cuts.windows(2).flat_map(|at| decoder.samples(&bytes[at[0]..at[1]])).collect();
            prop_assert_eq!(whole, parts);
        }
    }

    #[test]
    fn rates_out_of_range_are_refused() {
        assert_eq!(Format::new(Encoding::S16, 0), Ok(Format::default()));
        assert!(Format::new(Encoding::S16, 7_999).is_err() && Format::new(Encoding::F32, 96_001).is_err());
    }
}
