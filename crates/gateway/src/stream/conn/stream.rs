//! The TCP stream of a connection, and how much was written to it.

use std::{
    io::{self, IoSlice},
    ops::Deref,
    sync::atomic::{AtomicU64, Ordering},
};

use socket2::SockRef;
use tokio::net::TcpStream;

pub(crate) struct Stream {
    tcp: TcpStream,
    /// Bytes that the kernel has taken.
    sent: AtomicU64,
}

impl Stream {
    pub(super) const fn new(tcp: TcpStream) -> Self {
        Self { tcp, sent: AtomicU64::new(0) }
    }

    /// Bytes that the kernel has taken.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Writes without waiting, under the lock of [`Out`](super::out::Out). Returns how much. The runtime's record of the stream's
    /// readiness is used only when the kernel takes nothing: reading it for every delivery costs a visit to memory that is needed
    /// for nothing else.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let sent = match SockRef::from(&self.tcp).send(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.tcp.try_write(bytes),
            sent => sent,
        };
        self.count(sent)
    }

    /// The same with several pieces.
    pub(super) fn send_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.count(self.tcp.try_write_vectored(pieces))
    }

    fn count(&self, sent: io::Result<usize>) -> io::Result<usize> {
        if let Ok(bytes) = sent {
            // Under the lock, nobody else writes to it.
            self.sent.store(self.sent() + bytes as u64, Ordering::Relaxed);
        }
        sent
    }
}

impl Deref for Stream {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.tcp
    }
}
