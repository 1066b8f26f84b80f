//! Audio as clients send it, to the samples that engines take.

mod format;
mod level;
mod resampler;
mod wav;

pub(crate) use format::{Decoder, Encoding, Format};
pub(crate) use level::Meter;
pub(crate) use wav::{Wav, bytes, wav_header};
