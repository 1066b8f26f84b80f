//! The stream as tungstenite sees it, which only reads: the frames that it writes by itself (pongs, the answer to a close frame)
//! go to the queue of the connection.

use std::{
    io::{self, Read, Write},
    sync::{Arc, atomic::Ordering},
};

use bytes::{Buf, Bytes};

use super::Conn;
use crate::stream::{ending::Close, rfc6455};

/// The most that is read from the stream with one system call.
const READ: usize = 4 << 10;

/// Bytes of a client that tungstenite has not taken yet. Boxed, because most sockets have none.
///
/// tungstenite keeps its read buffer as long as the socket exists, and reads no more than the size of that buffer at once. So that
/// buffer is small, and a long frame is still read with few system calls.
#[derive(Default)]
pub(crate) struct Ahead(Option<Box<Bytes>>);

impl Ahead {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self((!bytes.is_empty()).then(|| Box::new(bytes)))
    }

    /// Moves bytes to `buffer`. Returns how many; 0 if there are none.
    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let Some(bytes) = &mut self.0 else { return 0 };
        let taken = bytes.len().min(buffer.len());
        bytes.copy_to_slice(&mut buffer[..taken]);
        if bytes.is_empty() {
            self.0 = None;
        }
        taken
    }
}

pub(crate) struct Input<'a> {
    pub(crate) conn: &'a Arc<Conn>,
    pub(crate) ahead: &'a mut Ahead,
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let taken = self.ahead.take(buffer);
        if taken > 0 {
            return Ok(taken);
        }
        let mut bytes = [0; READ];
        let read = self.conn.stream.try_read(&mut bytes)?;
        self.conn.received.fetch_add(read as u64, Ordering::Relaxed);
        let (now, later) = bytes[..read].split_at(read.min(buffer.len()));
        buffer[..now.len()].copy_from_slice(now);
        *self.ahead = Ahead::new(Bytes::copy_from_slice(later));
        Ok(now.len())
    }
}

impl Write for Input<'_> {
    /// Takes complete frames: tungstenite has no write buffer here, and this never takes a part.
    fn write(&mut self, frame: &[u8]) -> io::Result<usize> {
        match rfc6455::is_close(frame) {
            true => self.conn.close_with(Close::Gone, frame),
            false => self.conn.queue(frame),
        }
        Ok(frame.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
