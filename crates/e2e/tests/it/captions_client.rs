//! `turnpike captions`, against the single process with the real speech model.

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Child,
};
use turnpike_testkit::{
    ADMIN_PASSWORD, Proxy, SingleProcess, binary, captions_model, pcm, recordings, wav, within, word_errors,
};

use crate::client::{Output, UserEnvironment};

struct Speech {
    samples: Vec<i16>,
    said: String,
    folder: TempDir,
}

/// Two sentences with a pause behind each.
fn speech() -> Speech {
    let (mut samples, mut said) = (vec![0; 8_000], String::new());
    for recording in recordings().into_iter().skip(1).take(2) {
        samples.extend(recording.samples);
        samples.extend([0; 16_000]);
        said += &format!("{} ", recording.text);
    }
    let folder = TempDir::new().expect("a directory");
    std::fs::write(folder.path().join("speech.wav"), wav(&samples)).expect("written");
    Speech { samples, said, folder }
}

impl Speech {
    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("a file")
    }

    fn assert_said(&self, heard: &str) {
        let errors = word_errors(&self.said, heard);
        assert!(errors <= 0.15, "{errors:.3}: {heard}");
    }
}

async fn start() -> (SingleProcess, UserEnvironment) {
    let model = captions_model().to_str().expect("UTF-8").to_owned();
    let process = SingleProcess::start(&[("TURNPIKE_CAPTIONS_MODEL", model.as_str())]).await;
    (process, UserEnvironment::new().with("TURNPIKE_ADMIN_PASSWORD", ADMIN_PASSWORD))
}

async fn finish(child: Child) -> Output {
    let output = within("the program to exit", 60, child.wait_with_output()).await.expect("the output is read");
    let text = |bytes| String::from_utf8(bytes).expect("the output is UTF-8");
    Output { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

#[tokio::test]
async fn a_file_is_captioned_and_its_subtitles_are_written() {
    let (process, user) = start().await;
    let speech = speech();
    let [file, vtt, srt, json] = ["speech.wav", "a.vtt", "a.srt", "a.json"].map(|name| speech.path(name));
    let arguments = ["captions", "--server", process.url(), "--vtt", &vtt, "--srt", &srt, "--json", &json, &file];
    let output = user.run(&binary("turnpike"), &arguments, "").await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(output.out.lines().count(), 2, "a line for each final: {output:?}");
    speech.assert_said(&output.out);
    assert!(output.err.starts_with("session ") && !output.out.contains('\x1b'), "{output:?}");
    assert!(speech.read("a.vtt").starts_with("WEBVTT\n\n00:00:0") && speech.read("a.srt").starts_with("1\n00:00:0"));
    let transcript: Value = serde_json::from_str(&speech.read("a.json")).expect("JSON");
    assert_eq!(
        transcript["text"].as_str().map(|text| text.split(' ').count()),
        Some(output.out.split_whitespace().count())
    );
    assert!(transcript["samples"].as_u64() == Some(speech.samples.len() as u64), "{transcript}");
    assert!(!std::path::Path::new(&format!("{vtt}.part")).exists());

    let run = async |arguments: &[&str]| {
        user.run(&binary("turnpike"), &[&["captions", "--server", process.url()], arguments].concat(), "").await
    };
    let microphone = run(&["mic"]).await;
    assert!(
        microphone.code == Some(1)
            && microphone.err.contains("arecord -q -t raw -f S16_LE -r 16000 -c 1 | turnpike captions -")
    );
    let missing = run(&["/nonexistent.wav"]).await;
    assert!(missing.code == Some(1) && missing.err.contains("/nonexistent.wav cannot be opened"), "{missing:?}");
    let no_wav = run(&[&srt]).await;
    assert!(no_wav.code == Some(1) && no_wav.err.contains("is not a WAV file"), "{no_wav:?}");
    let language = run(&["--language", "tlh", &file]).await;
    assert!(language.code == Some(1) && language.err.contains("language"), "{language:?}");
}

#[tokio::test]
async fn a_pipe_is_captioned_through_connections_that_break() {
    let (process, user) = start().await;
    let proxy = Proxy::to(process.url()).await;
    let speech = speech();
    let mut child = user.start(&binary("turnpike"), &["captions", "--server", proxy.url(), "-"]);
    let mut pipe = child.stdin.take().expect("a pipe");
    let audio = pcm(&speech.samples);
    let pieces: Vec<&[u8]> = audio.chunks(audio.len().div_ceil(4)).collect();
    for (n, piece) in pieces.iter().enumerate() {
        pipe.write_all(piece).await.expect("the program reads");
        if n < 3 {
            proxy.disconnect();
            tokio::task::yield_now().await;
            proxy.restore();
        }
    }
    drop(pipe);
    let output = finish(child).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    speech.assert_said(&output.out);
    assert_eq!(output.out.lines().count(), 2, "each final once: {output:?}");
}

/// `script` (bsdutils, which every Debian has) gives the program a terminal.
#[tokio::test]
async fn on_a_terminal_a_partial_is_dim_and_ctrl_c_ends_the_audio() {
    let (process, user) = start().await;
    let speech = speech();
    let command = format!(
        "exec {} captions --server {} {}",
        binary("turnpike").display(),
        process.url(),
        speech.path("speech.wav")
    );
    let output = finish(user.start("script".as_ref(), &["-qfec", &command, "/dev/null"])).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.out.contains("\x1b[2m") && output.out.contains(" %  0:0"), "{output:?}");

    // The pipe stays open: only Ctrl C ends the audio.
    let mut child = user.start(&binary("turnpike"), &["captions", "--server", process.url(), "-"]);
    let mut pipe = child.stdin.take().expect("a pipe");
    pipe.write_all(&pcm(&speech.samples)).await.expect("the program reads");
    let mut out = Vec::new();
    let stdout = child.stdout.as_mut().expect("a pipe");
    while !out.contains(&b'\n') {
        let read = within("a final", 30, stdout.read_buf(&mut out)).await.expect("readable");
        assert!(read > 0, "the program ended: {}", String::from_utf8_lossy(&out));
    }
    let id = child.id().expect("it runs").to_string();
    let interrupt = tokio::process::Command::new("kill").args(["-INT", &id]).status();
    assert!(interrupt.await.expect("kill is on the PATH").success());
    let output = finish(child).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    out.extend(output.out.into_bytes());
    speech.assert_said(&String::from_utf8_lossy(&out));
    drop(pipe);
}
