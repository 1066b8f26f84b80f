//! Frames for people on a terminal; for programs, one JSON object a line.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

/// Where frames are printed.
pub(crate) struct Show {
    out: io::Stdout,
    people: bool,
}

impl Show {
    pub(crate) fn new() -> Self {
        let out = io::stdout();
        Self { people: out.is_terminal(), out }
    }

    /// Prints a frame at once.
    pub(crate) fn frame(&mut self, frame: &Value) -> io::Result<()> {
        let mut out = self.out.lock();
        if !self.people {
            writeln!(out, "{frame}")?;
            return out.flush();
        }
        let text = |field: &str| frame[field].as_str().unwrap_or_default();
        let time = text("at").split('T').nth(1).and_then(|time| time.get(..12)).unwrap_or("            ");
        match text("event") {
            "status" => writeln!(out, "{time}  {}", text("status"))?,
            "response" => {
                let fields = frame["response"].as_object().into_iter().flatten();
                let fields: Vec<_> = fields.map(|(name, value)| format!("{name}={}", shown(value))).collect();
                writeln!(out, "{time}  #{}  {}", frame["sequence_number"], fields.join("  "))?;
            }
            "error" => {
                let (code, message) = match frame["error_code"].as_str() {
                    Some(code) => (code, text("error_message")),
                    None => (text("code"), text("detail")),
                };
                writeln!(out, "{time}  {code}: {message}")?;
            }
            "reset" => writeln!(out, "{time}  (what came before is gone: {})", text("reason"))?,
            event => writeln!(out, "{time}  {event}  {frame}")?,
        }
        out.flush()
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
