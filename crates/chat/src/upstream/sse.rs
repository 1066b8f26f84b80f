//! A scanner for server-sent events (WHATWG HTML, section 9.2). Every byte is looked at once, however the stream is split.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// An event of a stream with at least one `data` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The whole event as it was received, with the blank line after it. A line feed after its last carriage return can be missing.
    pub raw: Bytes,
    /// Its `event` field; empty: none.
    pub name: Bytes,
    /// Its `data` lines, with a line feed between two of them.
    pub data: Bytes,
}

/// An event that is longer than the scanner's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {0} bytes")]
pub struct TooLong(usize);

/// Divides a stream of bytes into events.
#[derive(Debug)]
pub struct Scanner {
    /// The bytes from the beginning of the current event.
    buffer: BytesMut,
    /// Where the current line begins, and how far its end was searched for.
    line: usize,
    searched: usize,
    /// The last byte was a carriage return: a line feed that follows belongs to the same end of a line.
    after_return: bool,
    /// No line of the stream has ended yet: it may begin with a byte order mark.
    first_line: bool,
    /// The lines of the current event.
    name: Range<usize>,
    data: Option<Range<usize>>,
    more_data: Vec<Range<usize>>,
    limit: usize,
}

const MARK: &[u8] = b"\xEF\xBB\xBF";

impl Scanner {
    /// A scanner for events of at most this many bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            line: 0,
            searched: 0,
            after_return: false,
            first_line: true,
            name: 0..0,
            data: None,
            more_data: Vec::new(),
            limit,
        }
    }

    /// Takes the next bytes of the stream. [`Scanner::next`] then returns the events that they complete.
    pub fn push(&mut self, mut bytes: &[u8]) {
        if self.after_return && !bytes.is_empty() {
            self.after_return = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete event.
    pub fn next(&mut self) -> Result<Option<Event>, TooLong> {
        while let Some(found) = memchr::memchr2(b'\n', b'\r', &self.buffer[self.searched..]) {
            let end = self.searched + found;
            let mut after = end + 1;
            if self.buffer[end] == b'\r' {
                match self.buffer.get(after) {
                    Some(b'\n') => after += 1,
                    Some(_) => {}
                    None => self.after_return = true,
                }
            }
            let blank = self.take_line(end);
            (self.line, self.searched) = (after, after);
            if blank && let Some(event) = self.dispatch(after) {
                return Ok(Some(event));
            }
        }
        self.searched = self.buffer.len();
        if self.buffer.len() > self.limit { Err(TooLong(self.limit)) } else { Ok(None) }
    }

    /// The event that the end of the stream completes. The standard discards it; servers that leave out the last line feeds mean
    /// it.
    pub fn finish(&mut self) -> Option<Event> {
        let end = self.buffer.len();
        self.take_line(end);
        self.buffer.extend_from_slice(b"\n\n");
        self.dispatch(end + 2)
    }

    /// Reads the line from `self.line` to `end`; returns whether it is blank.
    fn take_line(&mut self, end: usize) -> bool {
        let mut start = self.line;
        if self.first_line {
            self.first_line = false;
            if self.buffer[start..end].starts_with(MARK) {
                start += MARK.len();
            }
        }
        let line = &self.buffer[start..end];
        if line.is_empty() {
            return true;
        }
        let value = |colon: usize| match line.get(colon + 1) {
            Some(b' ') => start + colon + 2..end,
            Some(_) => start + colon + 1..end,
            None => end..end,
        };
        // Other lines are comments, or fields that no model server uses.
        if line.starts_with(b"data:") || line == b"data" {
            match self.data {
                None => self.data = Some(value(4)),
                Some(_) => self.more_data.push(value(4)),
            }
        } else if line.starts_with(b"event:") || line == b"event" {
            self.name = value(5);
        }
        false
    }

    /// Takes the event before `end` out of the buffer; `None` if it has no data.
    fn dispatch(&mut self, end: usize) -> Option<Event> {
        let raw = self.buffer.split_to(end).freeze();
        (self.line, self.searched) = (0, 0);
        let name = std::mem::take(&mut self.name);
        let first = self.data.take()?;
        let name = if name.is_empty() { Bytes::new() } else { raw.slice(name) };
        if self.more_data.is_empty() {
            return Some(Event { name, data: raw.slice(first), raw });
        }
        let mut data = BytesMut::from(&raw[first]);
        for line in self.more_data.drain(..) {
            data.extend_from_slice(b"\n");
            data.extend_from_slice(&raw[line]);
        }
        Some(Event { name, data: data.freeze(), raw })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 16 << 20;

    fn scan<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
        let mut scanner = Scanner::new(LIMIT);
        let mut events = Vec::new();
        for part in parts {
            scanner.push(part);
            while let Some(event) = scanner.next().expect("short events") {
                events.push(event);
            }
        }
        events.extend(scanner.finish());
        events
    }

    /// The standard's algorithm, over the whole text at once.
    fn reference(text: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let text = text.strip_prefix(MARK).unwrap_or(text);
        let mut lines = vec![Vec::new()];
        let mut bytes = text.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\r' => {
                    bytes.next_if_eq(&b'\n');
                    lines.push(Vec::new());
                }
                b'\n' => lines.push(Vec::new()),
                byte => lines.last_mut().expect("not empty").push(byte),
            }
        }
        lines.push(Vec::new()); // the end of the stream completes the last event
        let mut events = Vec::new();
        let (mut name, mut data) = (Vec::new(), None::<Vec<u8>>);
        for line in lines {
            if line.is_empty() {
                let name = std::mem::take(&mut name);
                events.extend(data.take().map(|data| (name, data)));
                continue;
            }
            let (field, value) = match line.iter().position(|byte| *byte == b':') {
                Some(colon) => (&line[..colon], &line[colon + 1..]),
                None => (&line[..], &[][..]),
            };
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match (field, &mut data) {
                (b"data", Some(data)) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                (b"data", None) => data = Some(value.to_vec()),
                (b"event", _) => name = value.to_vec(),
                _ => {}
            }
        }
        events
    }

    fn pairs(events: &[Event]) -> Vec<(Vec<u8>, Vec<u8>)> {
        events.iter().map(|event| (event.name.to_vec(), event.data.to_vec())).collect()
    }

    /// Pieces of streams, such that most streams hold events; also arbitrary bytes.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => prop::sample::select(vec![
                "data: ", "data:", "data", "event: ", "event", "id: 1", ": ping", ":", "retry", "\n", "\r", "\r\n", "\n\n",
                "\r\n\r\n", " ", "[DONE]", "{\"a\":\"é😀\"}", "\u{feff}", "datas: x",
            ]).prop_map(|piece| piece.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..4),
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    fn cut(text: &[u8], cuts: Vec<prop::sample::Index>) -> Vec<&[u8]> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        let mut parts = Vec::new();
        let mut rest = 0;
        for cut in cuts {
            parts.push(&text[rest..cut]);
            rest = cut;
        }
        parts.push(&text[rest..]);
        parts
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_split_gives_the_events_of_the_standard(
            text in stream(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let events = scan(cut(&text, cuts));
            prop_assert_eq!(pairs(&events), reference(&text));
            // Without carriage returns and byte order marks, the raw events are a stream of the same events.
            let raw: Vec<u8> = events.iter().flat_map(|event| event.raw.to_vec()).collect();
            let is_special = text.contains(&b'\r') || text.windows(3).any(|bytes| bytes == MARK);
            prop_assert!(is_special || reference(&raw) == reference(&text));
        }

        #[test]
        fn single_bytes_give_the_events_of_the_standard(text in stream()) {
            prop_assert_eq!(pairs(&scan(text.chunks(1))), reference(&text));
        }
    }

    #[test]
    fn a_long_line_in_small_parts_is_scanned_once() {
        let line = [b"data: ".to_vec(), vec![b'x'; 10 << 20], b"\n\n".to_vec()].concat();
        // Quadratic work, 10 MiB in parts of 100 bytes, would look at 500 GiB and not end.
        let events = scan(line.chunks(100));
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].data.len(), 10 << 20);
        assert_eq!(events[0].raw, line);
    }

    #[test]
    fn the_length_of_an_event_is_bounded() {
        let mut scanner = Scanner::new(1000);
        scanner.push(b"data: short\n\n");
        assert!(scanner.next().is_ok_and(|event| event.is_some()));
        scanner.push(&[b':'; 1001]);
        assert_eq!(scanner.next(), Err(TooLong(1000)));
    }
}
