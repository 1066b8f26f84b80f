//! The stream as tungstenite sees it, which only reads: the frames that it writes by itself (pongs, the answer to a close frame)
//! go to the queue of the connection.

use std::{
    io::{self, Read, Write},
    sync::{Arc, atomic::Ordering},
};

use super::Conn;
use crate::stream::{ending::Close, rfc6455};

pub(crate) struct Input<'a>(pub(crate) &'a Arc<Conn>);

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.stream.try_read(buffer)?;
        self.0.received.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl Write for Input<'_> {
    /// Takes complete frames: tungstenite has no write buffer here, and this never takes a part.
    fn write(&mut self, frame: &[u8]) -> io::Result<usize> {
        match rfc6455::is_close(frame) {
            true => self.0.close_with(Close::Gone, frame),
            false => self.0.queue(frame),
        }
        Ok(frame.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
