//! Where audio comes from: a WAV file or a pipe. It becomes 16-bit samples of one channel.

use std::{
    fs::File,
    io::{self, BufReader, IsTerminal, Read},
};

use anyhow::{Context, bail};
use hound::{SampleFormat, WavReader};
use tokio::sync::mpsc;

/// A part of the audio, in parts of a second.
const PIECES_PER_SECOND: u32 = 20;
/// Parts that wait.
const WAITING: usize = 4;

const NO_MICROPHONE: &str = "this program records nothing by itself, so that it needs no audio library. Pipe a recorder into it: \
     arecord -q -t raw -f S16_LE -r 16000 -c 1 | turnpike captions -";

/// Audio that a thread reads, because a read cannot be cancelled.
pub(crate) struct Source {
    /// Samples a second.
    pub(crate) rate: u32,
    /// The samples of a file.
    pub(crate) total: Option<u64>,
    pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
}

type Reading = Box<dyn Read + Send>;

impl Source {
    /// Opens the audio that the user has named. `rate`: of a pipe without a header.
    pub(crate) fn open(name: &str, rate: u32) -> anyhow::Result<Self> {
        match name {
            "mic" => bail!("{NO_MICROPHONE}"),
            "-" if io::stdin().is_terminal() => bail!("`-` reads audio from a pipe, and the input is a terminal"),
            "-" => Self::pipe(rate),
            file => Self::file(file),
        }
    }

    fn file(name: &str) -> anyhow::Result<Self> {
        let file = File::open(name).with_context(|| format!("{name} cannot be opened"))?;
        let reader: Reading = Box::new(BufReader::new(file));
        let wav = WavReader::new(reader).with_context(|| format!("{name} is not a WAV file (PCM or float)"))?;
        let total = Some(u64::from(wav.duration()));
        Ok(Self { total, ..Self::wav(wav)? })
    }

    fn pipe(rate: u32) -> anyhow::Result<Self> {
        let mut input = io::stdin();
        let mut first = [0; 4];
        let mut length = 0;
        while length < first.len() {
            match input.read(&mut first[length..]).context("the pipe cannot be read")? {
                0 => break,
                read => length += read,
            }
        }
        let rest = BufReader::new(input);
        let reader: Reading = Box::new(io::Cursor::new(first).take(length as u64).chain(rest));
        match &first {
            b"RIFF" => Self::wav(WavReader::new(reader).context("the pipe begins like a WAV file and is none")?),
            _ => Self::start(rate, move |give| raw(reader, rate, give)),
        }
    }

    fn wav(wav: WavReader<Reading>) -> anyhow::Result<Self> {
        let spec = wav.spec();
        let channels = usize::from(spec.channels);
        match spec.sample_format {
            SampleFormat::Float => {
                let samples = wav.into_samples::<f32>().map_while(Result::ok);
                Self::start(spec.sample_rate, move |give| mono(samples, channels, spec.sample_rate, give))
            }
            SampleFormat::Int => {
                let scale = 2.0_f32.powi(1 - i32::from(spec.bits_per_sample));
                let samples = wav.into_samples::<i32>().map_while(Result::ok).map(move |sample| sample as f32 * scale);
                Self::start(spec.sample_rate, move |give| mono(samples, channels, spec.sample_rate, give))
            }
        }
    }

    fn start(rate: u32, read: impl FnOnce(&mut Give) + Send + 'static) -> anyhow::Result<Self> {
        let (sender, pieces) = mpsc::channel(WAITING);
        let thread = move || read(&mut |piece| sender.blocking_send(piece).is_ok());
        std::thread::Builder::new().name("audio".to_owned()).spawn(thread).context("a thread cannot be started")?;
        Ok(Self { rate, total: None, pieces })
    }

    /// The next samples; `None` at the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        self.pieces.recv().await.transpose().context("the audio cannot be read")
    }
}

/// Takes a part. Returns whether more is wanted.
type Give<'a> = dyn FnMut(io::Result<Vec<u8>>) -> bool + 'a;

/// Samples as they are.
fn raw(mut reader: Reading, rate: u32, give: &mut Give) {
    let mut piece = vec![0; (rate / PIECES_PER_SECOND).max(1) as usize * 2];
    let mut filled = 0;
    loop {
        match reader.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                give(Err(error));
                return;
            }
        }
        if filled == piece.len() {
            if !give(Ok(piece.clone())) {
                return;
            }
            filled = 0;
        }
    }
    piece.truncate(filled / 2 * 2);
    if !piece.is_empty() {
        give(Ok(piece));
    }
}

/// The mean of the channels.
fn mono(mut samples: impl Iterator<Item = f32>, channels: usize, rate: u32, give: &mut Give) {
    let length = (rate / PIECES_PER_SECOND).max(1) as usize * 2;
    let mut piece = Vec::with_capacity(length);
    let mut frame = || -> Option<f32> {
        let mut sum = 0.0;
        for _ in 0..channels {
            sum += samples.next()?;
        }
        Some(sum / channels as f32)
    };
    while let Some(sample) = frame() {
        let sample = (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16;
        piece.extend(sample.to_le_bytes());
        if piece.len() == length && !give(Ok(std::mem::replace(&mut piece, Vec::with_capacity(length)))) {
            return;
        }
    }
    if !piece.is_empty() {
        give(Ok(piece));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_kept_and_channels_are_mixed() {
        let mut given = Vec::new();
        let bytes: Vec<u8> = (0..2001_u16).flat_map(u16::to_le_bytes).chain([7]).collect();
        raw(Box::new(io::Cursor::new(bytes.clone())), 16_000, &mut |piece| {
            given.extend(piece.expect("readable"));
            true
        });
        assert_eq!(given, bytes[..4002], "an incomplete sample is left out");
        let mut given = Vec::new();
        mono([0.5, -0.5, 1.0, 1.0, 0.25].into_iter(), 2, 16_000, &mut |piece| {
            given.extend(piece.expect("readable"));
            true
        });
        assert_eq!(given, [0_i16.to_le_bytes(), 32_767_i16.to_le_bytes()].concat());
    }
}
