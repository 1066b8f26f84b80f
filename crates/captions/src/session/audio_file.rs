//! The audio of a session that keeps it: 16-bit samples of 16 kHz in a file beside the transcript. Sample n of the file is sample n of
//! the session, so that the times of words fit; audio of a pause is silence.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use tracing::error;

use crate::audio::{bytes, wav_header};

const WIDTH: u64 = 2;
/// The bytes of a piece that is read.
const PIECE: usize = 64 << 10;

/// The file of a session that runs.
pub(crate) struct AudioFile(Option<File>);

impl AudioFile {
    /// Opens the file, whose next sample is number `next`. Later samples, which a crash has left, are removed.
    pub(crate) fn open(path: &Path, next: u64) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        file.set_len(next * WIDTH)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self(Some(file)))
    }

    /// Appends samples.
    pub(crate) fn write(&mut self, pcm: &[f32]) {
        self.attempt(|file| file.write_all(&bytes(pcm)));
    }

    /// Appends silence.
    pub(crate) fn skip(&mut self, samples: u64) {
        self.attempt(|file| {
            let length = file.stream_position()? + samples * WIDTH;
            file.set_len(length)?; // a hole
            file.seek(SeekFrom::Start(length)).map(drop)
        });
    }

    /// After a failure the rest of the audio is not kept: captions go on.
    fn attempt(&mut self, work: impl FnOnce(&mut File) -> io::Result<()>) {
        let Some(file) = &mut self.0 else { return };
        if let Err(error) = work(file) {
            error!(%error, "the audio of a caption session cannot be written; the rest of it is not kept");
            self.0 = None;
        }
    }
}

/// Reads a file as WAV, in pieces.
pub(crate) struct WavReader {
    file: File,
    left: u64,
    header: Option<Vec<u8>>,
}

impl WavReader {
    /// The samples that the file has now. `None`: there is no file.
    pub(crate) fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let left = file.metadata()?.len() / WIDTH * WIDTH;
        let header = Some(wav_header(u32::try_from(left).unwrap_or(u32::MAX)));
        Ok(Some(Self { file, left, header }))
    }

    /// The next bytes; `None` at the end.
    pub(crate) fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        if let Some(header) = self.header.take() {
            return Ok(Some(header));
        }
        let mut piece = vec![0; self.left.min(PIECE as u64) as usize];
        self.file.read_exact(&mut piece)?;
        self.left -= piece.len() as u64;
        Ok(Some(piece).filter(|piece| !piece.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::RATE;

    #[test]
    fn the_file_is_a_wav_file_with_silence_for_what_was_skipped() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audio.pcm");
        assert!(WavReader::open(&path).expect("readable").is_none());
        let mut file = AudioFile::open(&path, 0).expect("opened");
        file.write(&[0.5, -1.0, 2.0]);
        file.skip(2);
        file.write(&[0.25; 100_000]);
        drop(file);
        let mut file = AudioFile::open(&path, 6).expect("opened again after a crash");
        file.write(&[0.125]);
        let mut reader = WavReader::open(&path).expect("readable").expect("there");
        let mut bytes = Vec::new();
        while let Some(piece) = reader.read().expect("readable") {
            bytes.extend(piece);
        }
        let wav = hound::WavReader::new(io::Cursor::new(bytes)).expect("a WAV file");
        assert_eq!((wav.spec().sample_rate, wav.spec().channels), (RATE, 1));
        let samples: Vec<i16> = wav.into_samples().map(|sample| sample.expect("a sample")).collect();
        assert_eq!(samples, [16_384, -32_768, 32_767, 0, 0, 8_192, 4_096]);
    }
}
