//! The TCP stream of a client while HTTP is spoken on it: it holds the connection's slot, a write to a client that does not read
//! fails after a while, and a response arrives although its request was not read to the end.

use std::{
    future::Future,
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

use crate::access::slots::Slot;

/// A connection that is closed with unread bytes is reset, and the reset overtakes the response. So after the last response the
/// stream is closed in one direction, and what the client still sends is read and dropped until the client closes it, too (RFC
/// 9112, section 9.6). These limit for how long, and how many bytes.
const LINGER_FOR: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 << 20;
/// The bytes that are dropped at once.
const DROPPED_AT_ONCE: usize = 8 << 10;

/// `Unpin`, so that the TCP stream comes out of it again when the connection is upgraded.
pub(crate) struct ClientStream {
    stream: TcpStream,
    slot: Slot,
    write_timeout: Duration,
    /// The end of a write that waits for room.
    deadline: Option<Pin<Box<Sleep>>>,
    /// After the last write.
    linger: Option<Linger>,
}

struct Linger {
    end: Pin<Box<Sleep>>,
    /// The bytes that may still be dropped.
    bytes: usize,
}

impl ClientStream {
    /// A write fails after it has waited for this long.
    pub(super) fn new(stream: TcpStream, slot: Slot, write_timeout: Duration) -> Self {
        Self { stream, slot, write_timeout, deadline: None, linger: None }
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

    /// Ready once the client has closed the stream, or a limit is reached.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let linger =
            self.linger.get_or_insert_with(|| Linger { end: Box::pin(sleep(LINGER_FOR)), bytes: LINGER_BYTES });
        let mut dropped = [MaybeUninit::uninit(); DROPPED_AT_ONCE];
        while linger.end.as_mut().poll(context).is_pending() && linger.bytes > 0 {
            let mut into = ReadBuf::uninit(&mut dropped);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut into)) {
                Ok(()) if !into.filled().is_empty() => linger.bytes = linger.bytes.saturating_sub(into.filled().len()),
                _ => break,
            }
        }
        Poll::Ready(())
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
        if self.linger.is_none() {
            let shut = Pin::new(&mut self.stream).poll_shutdown(context);
            ready!(self.in_time(shut, context))?;
        }
        self.poll_linger(context).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::access::slots::{ConnectionSlots, PerAddress};

    /// A client, its stream, and the slots of which the stream holds the only one.
    async fn connected() -> (TcpStream, ClientStream, Arc<ConnectionSlots>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (client, (stream, peer)) = (client.expect("connected"), accepted.expect("accepted"));
        let slots = ConnectionSlots::new(1, PerAddress::Unset, Vec::new());
        let slot = slots.take(peer.ip()).expect("a slot");
        (client, ClientStream::new(stream, slot, Duration::from_millis(100)), slots)
    }

    #[tokio::test]
    async fn a_response_arrives_while_the_client_still_sends() {
        let (mut client, mut stream, _slots) = connected().await;
        let serving = async move {
            stream.write_all(b"too long").await.expect("there is room");
            stream.shutdown().await.expect("closed");
        };
        let asking = async move {
            // More than the kernel holds for a reader.
            client.write_all(&vec![0; 12 << 20]).await.expect("everything is read");
            let mut response = Vec::new();
            client.read_to_end(&mut response).await.expect("no reset");
            assert_eq!(response, b"too long");
        };
        tokio::join!(serving, asking);
    }

    #[tokio::test]
    async fn a_client_that_sends_on_and_on_is_cut_off() {
        let (mut client, mut stream, _slots) = connected().await;
        let serving = async move { stream.shutdown().await.expect("closed") };
        let sending = async move {
            let block = vec![0; 1 << 20];
            let mut sent = 0;
            while client.write_all(&block).await.is_ok() {
                sent += block.len();
                assert!(sent < 2 * LINGER_BYTES, "the stream is closed");
            }
        };
        tokio::join!(serving, sending);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_close_is_given_up() {
        let (_client, mut stream, _slots) = connected().await;
        let began = tokio::time::Instant::now();
        stream.shutdown().await.expect("closed");
        assert!((LINGER_FOR..2 * LINGER_FOR).contains(&began.elapsed()), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_ends_its_connection() {
        let (mut client, mut stream, slots) = connected().await;
        let peer = client.local_addr().expect("an address");
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
