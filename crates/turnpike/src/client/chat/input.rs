//! What to ask: the argument, text from a pipe, or the lines that are typed.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use anyhow::{Context, ensure};
use tokio::sync::mpsc;

/// The gateway accepts no longer message.
const MAX_CONTENT: usize = 256 << 10;

pub(super) enum Input {
    /// One question.
    Once(Option<String>),
    /// A thread reads the terminal, because a read cannot be cancelled.
    Lines { wanted: mpsc::Sender<()>, lines: mpsc::Receiver<String> },
}

impl Input {
    pub(super) fn new(prompt: Option<String>) -> anyhow::Result<Self> {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            return match prompt {
                Some(prompt) => Ok(Self::Once(Some(checked(prompt)?))),
                None => Self::lines(),
            };
        }
        let mut piped = String::new();
        let mut limited = stdin.lock().take(MAX_CONTENT as u64 + 1);
        limited.read_to_string(&mut piped).context("the pipe does not contain UTF-8 text")?;
        let parts = [prompt.as_deref().unwrap_or_default(), piped.as_str()].map(str::trim_end);
        let content = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n");
        Ok(Self::Once(Some(checked(content)?)))
    }

    fn lines() -> anyhow::Result<Self> {
        let (wanted, mut requests) = mpsc::channel(1);
        let (sender, lines) = mpsc::channel(1);
        let read = move || {
            while requests.blocking_recv().is_some() {
                let mut line = String::new();
                match io::stdin().lock().read_line(&mut line) {
                    Ok(1..) if sender.blocking_send(line).is_ok() => {}
                    _ => return,
                }
            }
        };
        std::thread::Builder::new().name("terminal".to_owned()).spawn(read).context("a thread cannot be started")?;
        Ok(Self::Lines { wanted, lines })
    }

    /// The next question; `None` at the end.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<String>> {
        let (wanted, lines) = match self {
            Self::Once(question) => return Ok(question.take()),
            Self::Lines { wanted, lines } => (wanted, lines),
        };
        loop {
            write!(io::stderr(), "> ")?;
            if wanted.send(()).await.is_err() {
                return Ok(None);
            }
            let line = tokio::select! {
                line = lines.recv() => line,
                pressed = tokio::signal::ctrl_c() => pressed.map(|()| None)?,
            };
            match line {
                None => {
                    writeln!(io::stderr())?;
                    return Ok(None);
                }
                Some(line) if line.trim().is_empty() => {}
                Some(line) => return checked(line.trim_end().to_owned()).map(Some),
            }
        }
    }
}

fn checked(content: String) -> anyhow::Result<String> {
    ensure!(!content.is_empty(), "there is nothing to ask: pass a prompt, or text through a pipe");
    ensure!(content.len() <= MAX_CONTENT, "the question has more than {MAX_CONTENT} bytes (256 KiB)");
    Ok(content)
}
