//! The TCP stream of a connection, which counts the bytes that are written to it.

use std::{
    io::{self, IoSlice},
    ops::Deref,
    sync::atomic::{AtomicU64, Ordering},
};

use socket2::SockRef;
use tokio::net::TcpStream;

pub(crate) struct Tcp {
    stream: TcpStream,
    /// Bytes that the kernel has taken.
    sent: AtomicU64,
}

impl Tcp {
    pub(super) const fn new(stream: TcpStream) -> Self {
        Self { stream, sent: AtomicU64::new(0) }
    }

    /// Bytes that the kernel has taken.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Writes without waiting, and returns the number of bytes written. The caller holds the lock of [`Out`](super::out::Out). The
    /// runtime's record of the stream's readiness is used only when the kernel takes nothing: for every delivery, it would be one
    /// more cache miss.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let sent = match SockRef::from(&self.stream).send(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.stream.try_write(bytes),
            sent => sent,
        };
        self.count(sent)
    }

    /// As [`Tcp::send`], for several slices.
    pub(super) fn send_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.count(self.stream.try_write_vectored(slices))
    }

    fn count(&self, sent: io::Result<usize>) -> io::Result<usize> {
        if let Ok(bytes) = sent {
            // The caller holds the lock of `Out`, so no other write happens between the load and the store.
            self.sent.store(self.sent() + bytes as u64, Ordering::Relaxed);
        }
        sent
    }
}

impl Deref for Tcp {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}
