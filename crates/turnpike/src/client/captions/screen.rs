//! What the user sees: finals as lines; on a terminal below them one line that changes, with the progress and what is being said.

use std::io::{self, IsTerminal, Write};

/// Clears the line.
const CLEAR: &str = "\r\x1b[2K";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";
/// Columns if the terminal does not say.
const COLUMNS: usize = 80;

pub(super) struct Screen {
    /// Where the changing line is; `None`: there is no terminal.
    line: Option<Terminal>,
    /// Samples of a file, and samples a second.
    total: Option<(u64, u32)>,
    samples: u64,
    partial: String,
}

enum Terminal {
    Out,
    Error,
}

impl Screen {
    pub(super) fn new(total: Option<(u64, u32)>) -> Self {
        let line = match (io::stdout().is_terminal(), io::stderr().is_terminal()) {
            (true, _) => Some(Terminal::Out),
            (false, true) => Some(Terminal::Error),
            (false, false) => None,
        };
        Self { line, total, samples: 0, partial: String::new() }
    }

    /// What is being said.
    pub(super) fn partial(&mut self, text: &str) -> io::Result<()> {
        self.partial = plain(text);
        self.draw()
    }

    /// What has been said.
    pub(super) fn last(&mut self, text: &str) -> io::Result<()> {
        self.clear()?;
        self.partial.clear();
        let mut out = io::stdout().lock();
        writeln!(out, "{}", plain(text))?;
        out.flush()?;
        drop(out);
        self.draw()
    }

    /// The service has these samples.
    pub(super) fn progress(&mut self, samples: u64) -> io::Result<()> {
        self.samples = samples;
        if self.total.is_some() { self.draw() } else { Ok(()) }
    }

    /// Removes the changing line.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.put(CLEAR)
    }

    fn draw(&self) -> io::Result<()> {
        let progress = self.total.map(|(total, rate)| progress(self.samples, total, rate)).unwrap_or_default();
        let text = format!("{progress}{}", self.partial);
        self.put(&format!("{CLEAR}{DIM}{}{PLAIN}", tail(&text, progress.len(), self.columns().saturating_sub(1))))
    }

    fn put(&self, text: &str) -> io::Result<()> {
        match &self.line {
            None => Ok(()),
            Some(Terminal::Out) => {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes())?;
                out.flush()
            }
            Some(Terminal::Error) => io::stderr().write_all(text.as_bytes()),
        }
    }

    fn columns(&self) -> usize {
        let size = match &self.line {
            Some(Terminal::Out) => rustix::termios::tcgetwinsize(io::stdout()),
            _ => rustix::termios::tcgetwinsize(io::stderr()),
        };
        size.map_or(COLUMNS, |size| usize::from(size.ws_col)).max(20)
    }
}

/// ` 42 %  1:03 of 2:30  `.
fn progress(samples: u64, total: u64, rate: u32) -> String {
    let time = |samples: u64| {
        let seconds = samples / u64::from(rate.max(1));
        format!("{}:{:02}", seconds / 60, seconds % 60)
    };
    let share = (samples * 100).checked_div(total).unwrap_or(100).min(100);
    format!("{share:3} %  {} of {}  ", time(samples), time(total))
}

/// Text that fits into the columns: the first `head` bytes and the end.
fn tail(text: &str, head: usize, columns: usize) -> String {
    let (head, rest) = text.split_at(head);
    let (used, length) = (head.chars().count(), rest.chars().count());
    match used + length <= columns {
        true => text.to_owned(),
        false => {
            let room = columns.saturating_sub(used + 1);
            head.chars().take(columns).chain("…".chars()).chain(rest.chars().skip(length - room.min(length))).collect()
        }
    }
}

/// Text without characters that control a terminal.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_changing_line_fits_the_terminal() {
        assert_eq!(progress(1_008_000, 2_400_000, 16_000), " 42 %  1:03 of 2:30  ");
        assert_eq!(progress(0, 0, 16_000), "100 %  0:00 of 0:00  ");
        assert_eq!(tail("42 % words", 5, 20), "42 % words");
        assert_eq!(tail("42 % many words that are said", 5, 16), "42 % …t are said");
        assert_eq!(plain("a\x1b[2Jb\n"), "a[2Jb");
    }
}
