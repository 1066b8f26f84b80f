//! The TCP stream of a client while HTTP is spoken on it: it holds the connection's slot, and a write to a client that does not
//! read fails after a while.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

use crate::access::slots::Slot;

/// `Unpin`, so that the TCP stream comes out of it again when the connection is upgraded.
pub(crate) struct ClientStream {
    stream: TcpStream,
    slot: Slot,
    write_timeout: Duration,
    /// The end of a write that waits for room.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl ClientStream {
    /// A write fails after it has waited for this long.
    pub(super) fn new(stream: TcpStream, slot: Slot, write_timeout: Duration) -> Self {
        Self { stream, slot, write_timeout, deadline: None }
    }

    pub(crate) fn into_parts(self) -> (TcpStream, Slot) {
        (self.stream, self.slot)
    }

    /// Fails a write that has waited for too long.
    fn in_time<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let timeout = self.write_timeout;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(timeout)));
        deadline.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.in_time(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.in_time(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.in_time(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.in_time(shut, context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::access::slots::{ConnectionSlots, PerAddress};

    #[tokio::test]
    async fn a_client_that_does_not_read_ends_its_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut client, (stream, peer)) = (client.expect("connected"), accepted.expect("accepted"));
        let slots = ConnectionSlots::new(1, PerAddress::Unset, Vec::new());
        let mut stream = ClientStream::new(stream, slots.take(peer.ip()).expect("a slot"), Duration::from_millis(100));
        stream.write_all(b"read this").await.expect("there is room");
        client.read_exact(&mut [0; 9]).await.expect("it arrives");
        let block = vec![0; 1 << 20];
        let failed = loop {
            if let Err(error) = stream.write_all(&block).await {
                break error;
            }
        };
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
        let (tcp, slot) = stream.into_parts();
        drop(tcp);
        assert!(slots.take(peer.ip()).is_err(), "the slot is held");
        drop(slot);
        assert!(slots.take(peer.ip()).is_ok());
    }
}
