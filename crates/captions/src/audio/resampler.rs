//! From one rate to another.

use rubato::{
    Async, FixedAsync, Indexing, Resampler as _, SincInterpolationParameters, SincInterpolationType, WindowFunction,
    audioadapter_buffers::direct::InterleavedSlice,
};

/// Samples that are resampled at a time.
const CHUNK: usize = 256;

/// A stream that is resampled.
pub(super) struct Resampler {
    inner: Async<f32>,
    input: Vec<f32>,
    output: Vec<f32>,
}

impl Resampler {
    /// `from` and `to` are from 8,000 to 96,000.
    pub(super) fn new(from: u32, to: u32) -> Self {
        let parameters = SincInterpolationParameters {
            sinc_len: 64,
            f_cutoff: None,
            oversampling_factor: 128,
            interpolation: SincInterpolationType::Linear,
            window: WindowFunction::BlackmanHarris2,
        };
        let ratio = f64::from(to) / f64::from(from);
        let inner = Async::new_sinc(ratio, 1.0, &parameters, CHUNK, 1, FixedAsync::Input);
        let inner = inner.expect("a ratio of rates is positive");
        let output = vec![0.0; inner.output_frames_max()];
        Self { inner, input: Vec::new(), output }
    }

    /// The output is behind the input by less than 256 samples and the length of the filter.
    pub(super) fn process(&mut self, samples: &[f32]) -> Vec<f32> {
        self.input.extend_from_slice(samples);
        let mut resampled = Vec::new();
        let mut done = 0;
        while self.input.len() - done >= CHUNK {
            resampled.extend_from_slice(self.chunk(done));
            done += CHUNK;
        }
        self.input.drain(..done);
        resampled
    }

    fn chunk(&mut self, at: usize) -> &[f32] {
        let frames = self.output.len();
        let input = InterleavedSlice::new(&self.input[at..at + CHUNK], 1, CHUNK).expect("the sizes fit");
        let mut output = InterleavedSlice::new_mut(&mut self.output, 1, frames).expect("the sizes fit");
        let indexing: Option<&Indexing> = None;
        let written = self.inner.process_into_buffer(&input, &mut output, indexing);
        let (_, written) = written.expect("the buffers have the lengths that the resampler asks for");
        &self.output[..written]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_keeps_its_pitch_and_its_level() {
        for from in [8_000_u32, 22_050, 44_100, 48_000, 96_000] {
            let tone = |n: usize, rate: u32| (n as f32 * 440.0 * std::f32::consts::TAU / rate as f32).sin();
            let second: Vec<f32> = (0..from as usize).map(|n| tone(n, from)).collect();
            let mut resampler = Resampler::new(from, 16_000);
            let output: Vec<f32> = second.chunks(333).flat_map(|part| resampler.process(part)).collect();
            assert!((15_400..=16_100).contains(&output.len()), "{from}: {}", output.len());
            let middle = &output[4_000..12_000];
            let rises = middle.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
            let rms = (middle.iter().map(|sample| sample * sample).sum::<f32>() / middle.len() as f32).sqrt();
            assert!(
                (219..=221).contains(&rises) && (rms - std::f32::consts::FRAC_1_SQRT_2).abs() < 0.01,
                "{from}: {rises}, {rms}"
            );
        }
    }
}
