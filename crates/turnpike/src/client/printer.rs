//! Prints frames: as text on a terminal, otherwise as one JSON object a line.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

pub(crate) struct Printer {
    out: io::Stdout,
    as_text: bool,
}

impl Printer {
    pub(crate) fn new() -> Self {
        let out = io::stdout();
        Self { as_text: out.is_terminal(), out }
    }

    /// Prints a frame and flushes the output.
    pub(crate) fn print(&mut self, frame: &Value) -> io::Result<()> {
        let mut out = self.out.lock();
        if !self.as_text {
            writeln!(out, "{frame}")?;
            return out.flush();
        }
        let text = |field: &str| frame[field].as_str().unwrap_or_default();
        let time = text("at").split('T').nth(1).and_then(|time| time.get(..12)).unwrap_or("            ");
        match text("event") {
            "status" => writeln!(out, "{time}  {}", text("status"))?,
            "response" => {
                let fields = frame["response"].as_object().into_iter().flatten();
                let fields: Vec<_> = fields.map(|(name, value)| format!("{name}={}", display(value))).collect();
                writeln!(out, "{time}  #{}  {}", frame["sequence_number"], fields.join("  "))?;
            }
            "error" => {
                let (code, message) = match frame["error_code"].as_str() {
                    Some(code) => (code, text("error_message")),
                    None => (text("code"), text("detail")),
                };
                writeln!(out, "{time}  {code}: {message}")?;
            }
            "reset" => writeln!(out, "{time}  (reset, earlier events are not available: {})", text("reason"))?,
            event => writeln!(out, "{time}  {event}  {frame}")?,
        }
        out.flush()
    }
}

fn display(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
