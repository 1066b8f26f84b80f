//! Transcripts in the data directory: one file for each session, to which lines of JSON are appended. The first line describes the
//! session; a line that a crash has cut is left out when the file is read.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use turnpike_event::{Caption, CaptionsState, SegmentEnd, Span, Word};
use turnpike_topic::{CaptionsSessionId, RoomId, UserId};

use super::audio_file::{AudioFile, WavReader};

/// The folder of the transcripts.
#[derive(Clone)]
pub(crate) struct Store(Arc<PathBuf>);

/// One line.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    Opened(Opened),
    Final(Kept),
    Corrected {
        segment: u64,
        text: String,
    },
    Translated {
        segment: u64,
        text: String,
    },
    /// The final is in the session's room.
    Posted {
        segment: u64,
    },
    Ended {
        state: String,
        reason: String,
        at: Timestamp,
        samples: u64,
    },
}

/// The first line.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Opened {
    pub(crate) session_id: CaptionsSessionId,
    pub(crate) owner: UserId,
    pub(crate) at: Timestamp,
    pub(crate) language: String,
    pub(crate) engine: String,
    pub(crate) float: bool,
    pub(crate) rate: u32,
    #[serde(default)]
    pub(crate) keep_audio: bool,
    /// Empty: finals are not translated.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) translate_to: String,
    #[serde(default)]
    pub(crate) translate_partials: bool,
    /// Finals become messages of this room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) room_id: Option<RoomId>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) idempotency_key: String,
}

/// A final with everything that is kept of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Kept {
    pub(crate) segment: u64,
    pub(crate) text: String,
    pub(crate) start_ms: u64,
    pub(crate) end_ms: u64,
    pub(crate) confidence: f32,
    pub(crate) reason: String,
    /// Text, start, end and confidence.
    pub(crate) words: Vec<(String, u64, u64, f32)>,
    /// Samples, at the rate of the client, whose words are published.
    pub(crate) stored: u64,
    #[serde(default)]
    pub(crate) corrected: bool,
    /// Empty: there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) translation: String,
    /// It is in the session's room.
    #[serde(default)]
    pub(crate) posted: bool,
}

/// A session as its file has it.
#[derive(Debug)]
pub(crate) struct Transcript {
    pub(crate) opened: Opened,
    pub(crate) finals: Vec<Kept>,
    /// The state, its reason, its time, and the samples.
    pub(crate) ended: Option<(CaptionsState, String, Timestamp, u64)>,
}

impl Kept {
    pub(crate) fn new(caption: &Caption, reason: SegmentEnd, stored: u64) -> Self {
        let word = |word: &Word| (word.text.clone(), word.span.start_ms, word.span.end_ms, word.confidence);
        Self {
            segment: caption.segment,
            text: caption.text.clone(),
            start_ms: caption.span.start_ms,
            end_ms: caption.span.end_ms,
            confidence: caption.confidence,
            reason: reason.as_str().to_owned(),
            words: caption.words.iter().map(word).collect(),
            stored,
            corrected: false,
            translation: String::new(),
            posted: false,
        }
    }

    /// Replaces the text. A translation was of the earlier one.
    pub(crate) fn correct(&mut self, text: &str) {
        text.clone_into(&mut self.text);
        self.corrected = true;
        self.translation.clear();
    }

    /// With no time behind the end of the audio, which may have been followed by silence that nobody has sent.
    pub(crate) fn within(mut self, end_ms: u64) -> Self {
        let ends = self.words.iter_mut().flat_map(|(_, start, end, _)| [start, end]);
        ends.chain([&mut self.start_ms, &mut self.end_ms]).for_each(|time| *time = (*time).min(end_ms));
        self
    }

    /// The event's values.
    pub(crate) fn caption(&self) -> (Caption, SegmentEnd) {
        let word = |(text, start_ms, end_ms, confidence): &(String, u64, u64, f32)| Word {
            text: text.clone(),
            span: Span { start_ms: *start_ms, end_ms: *end_ms },
            confidence: *confidence,
        };
        let caption = Caption {
            segment: self.segment,
            text: self.text.clone(),
            span: Span { start_ms: self.start_ms, end_ms: self.end_ms },
            confidence: self.confidence,
            words: self.words.iter().map(word).collect(),
        };
        (caption, SegmentEnd::from_word(&self.reason).unwrap_or(SegmentEnd::Silence))
    }
}

impl Store {
    /// Opens the folder, and creates it if it is missing.
    pub(crate) fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self(Arc::new(folder)))
    }

    fn path(&self, id: CaptionsSessionId) -> PathBuf {
        self.0.join(format!("{id}.jsonl"))
    }

    /// The file of a session's audio, which exists if the session keeps it.
    pub(crate) fn audio_path(&self, id: CaptionsSessionId) -> PathBuf {
        self.0.join(format!("{id}.pcm"))
    }

    /// Opens the audio of a session that keeps it, whose next sample has this number.
    pub(super) async fn audio(&self, opened: &Opened, next: u64) -> io::Result<Option<AudioFile>> {
        if !opened.keep_audio {
            return Ok(None);
        }
        let path = self.audio_path(opened.session_id);
        blocking(move || AudioFile::open(&path, next)).await.map(Some)
    }

    /// The audio of a session as a WAV file. `None`: the session keeps none.
    pub(crate) async fn read_audio(&self, id: CaptionsSessionId) -> io::Result<Option<WavReader>> {
        let path = self.audio_path(id);
        blocking(move || WavReader::open(&path)).await
    }

    /// The next piece of the audio, and the rest.
    pub(crate) async fn read_piece(mut reader: WavReader) -> io::Result<Option<(Vec<u8>, WavReader)>> {
        blocking(move || Ok(reader.read()?.map(|piece| (piece, reader)))).await
    }

    /// Appends a line. What is written survives the end of the process.
    pub(crate) async fn append(&self, id: CaptionsSessionId, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        let path = self.path(id);
        blocking(move || OpenOptions::new().create(true).append(true).open(path)?.write_all(&text)).await
    }

    /// Reads one session.
    pub(crate) async fn read(&self, id: CaptionsSessionId) -> io::Result<Option<Transcript>> {
        Ok(self.read_sized(id).await?.map(|(transcript, _)| transcript))
    }

    /// Reads one session, and says how many bytes it has.
    pub(super) async fn read_sized(&self, id: CaptionsSessionId) -> io::Result<Option<(Transcript, u64)>> {
        let path = self.path(id);
        blocking(move || match fs::read_to_string(path) {
            Ok(text) => Ok(parse(&text).map(|transcript| (transcript, text.len() as u64))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    /// Every session: its id, the time of its last line, and its bytes, with those of its audio.
    pub(crate) async fn list(&self) -> io::Result<Vec<(CaptionsSessionId, Timestamp, u64)>> {
        let folder = self.0.clone();
        blocking(move || {
            let mut found = Vec::new();
            for entry in fs::read_dir(&*folder)? {
                let entry = entry?;
                let name = entry.file_name();
                let id: Option<CaptionsSessionId> =
                    name.to_str().and_then(|name| name.strip_suffix(".jsonl")?.parse().ok());
                let (Some(id), Ok(meta)) = (id, entry.metadata()) else { continue };
                let changed = Timestamp::try_from(meta.modified()?).unwrap_or(Timestamp::UNIX_EPOCH);
                let audio = fs::metadata(folder.join(format!("{id}.pcm"))).map_or(0, |meta| meta.len());
                found.push((id, changed, meta.len() + audio));
            }
            Ok(found)
        })
        .await
    }

    pub(crate) async fn remove(&self, id: CaptionsSessionId) -> io::Result<()> {
        // The transcript last: with it the session is found again, if the removal fails.
        let paths = [self.audio_path(id), self.path(id)];
        blocking(move || {
            paths.iter().try_for_each(|path| match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            })
        })
        .await
    }

    /// Whether the folder can be written.
    pub(crate) async fn answers(&self) -> bool {
        let probe = self.0.join(".probe");
        blocking(move || File::create(probe).map(drop)).await.is_ok()
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(io::Error::other("the work was cancelled")))
}

fn parse(text: &str) -> Option<Transcript> {
    let mut lines = text.lines().map_while(|line| serde_json::from_str::<Line>(line).ok());
    let Some(Line::Opened(opened)) = lines.next() else { return None };
    let mut transcript = Transcript { opened, finals: Vec::new(), ended: None };
    for line in lines {
        let finals = &mut transcript.finals;
        let mut change = |segment: u64, change: &dyn Fn(&mut Kept)| {
            finals.iter_mut().rfind(|kept| kept.segment == segment).map(change);
        };
        match line {
            Line::Opened(_) => {}
            Line::Final(kept) => finals.push(kept),
            Line::Corrected { segment, text } => change(segment, &|kept| kept.correct(&text)),
            Line::Translated { segment, text } => change(segment, &|kept| kept.translation.clone_from(&text)),
            Line::Posted { segment } => change(segment, &|kept| kept.posted = true),
            Line::Ended { state, reason, at, samples } => {
                let state = CaptionsState::from_word(&state).unwrap_or(CaptionsState::Stopped);
                transcript.ended = Some((state, reason, at, samples));
            }
        }
    }
    Some(transcript)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cut_line_is_left_out_and_corrections_apply() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path().join("captions")).expect("a store");
        let id = CaptionsSessionId::new(Timestamp::UNIX_EPOCH);
        let opened = Opened {
            session_id: id,
            owner: UserId::new(Timestamp::UNIX_EPOCH),
            at: Timestamp::UNIX_EPOCH,
            language: "en".into(),
            engine: "moonshine".into(),
            float: false,
            rate: 16_000,
            keep_audio: false,
            translate_to: "de".into(),
            translate_partials: false,
            room_id: None,
            idempotency_key: String::new(),
        };
        let span = Span { start_ms: 1, end_ms: 2 };
        let words = vec![Word { text: "He".into(), span, confidence: 0.5 }];
        let caption = Caption { segment: 1, text: "He".into(), span, confidence: 0.5, words };
        store.append(id, &Line::Opened(opened)).await.expect("written");
        store.append(id, &Line::Final(Kept::new(&caption, SegmentEnd::Timeout, 7))).await.expect("written");
        store.append(id, &Line::Translated { segment: 1, text: "Er".into() }).await.expect("written");
        let read = store.read(id).await.expect("readable").expect("there");
        assert_eq!((read.finals[0].translation.as_str(), read.finals[0].posted), ("Er", false));
        store.append(id, &Line::Posted { segment: 1 }).await.expect("written");
        store.append(id, &Line::Corrected { segment: 1, text: "She".into() }).await.expect("written");
        let path = store.path(id);
        let mut file = OpenOptions::new().append(true).open(&path).expect("opened");
        file.write_all(br#"{"final":{"segm"#).expect("written");
        let read = store.read(id).await.expect("readable").expect("there");
        assert_eq!(read.finals.len(), 1);
        assert!(read.finals[0].corrected && read.finals[0].stored == 7 && read.ended.is_none());
        assert!(read.finals[0].posted && read.finals[0].translation.is_empty(), "of the earlier text");
        let (read, reason) = read.finals[0].caption();
        assert_eq!((read, reason), (Caption { text: "She".into(), ..caption }, SegmentEnd::Timeout));
        assert_eq!(store.list().await.expect("readable").len(), 1);
        store.remove(id).await.expect("removed");
        assert!(store.read(id).await.expect("readable").is_none() && store.answers().await);
    }
}
