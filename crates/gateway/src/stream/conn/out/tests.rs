use std::mem::offset_of;

use parking_lot::Mutex;

use super::*;
use crate::stream::{conn::Conn, wheel::Wheel};

#[test]
fn a_delivery_without_a_visit_reads_two_lines_of_the_cache() {
    const LINE: usize = 64;
    assert_eq!((align_of::<Conn>(), offset_of!(Conn, out)), (LINE, LINE), "the stream fills the first line");
    let (lock, needed) = (size_of::<Mutex<Out>>() - size_of::<Out>(), offset_of!(Out, bus_outage_reported));
    assert!(lock + needed <= LINE, "{lock} and {needed} bytes");
}

/// Without these conditions, a run of another topic, or of the same topic before a reset, would be written as a continuation.
#[tokio::test]
async fn only_the_run_that_continues_what_was_written_is_written_without_the_reader() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (client, server) = tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
    let (client, stream) = (client.expect("connected"), Tcp::new(server.expect("accepted").0));
    let now = Wheel::new().now();
    let (ring, other) = (NonZeroU64::MIN, NonZeroU64::MAX);
    let run = |n: u64| Run { ring, format: Format::Json, from: n, to: n + 1, bytes: "run".into(), more: false };
    let open = || Out { direct: Some(Direct { ring, n: 7 }), ..Out::new(Format::Json, now, now) };

    let mut out = open();
    assert!(out.write_run(&stream, &run(7)) && out.write_run(&stream, &run(8)));
    for n in [6, 7, 8, 10] {
        assert!(!out.write_run(&stream, &run(n)), "it is not the next one");
    }
    assert!(!out.write_run(&stream, &Run { ring: other, ..run(9) }), "of another topic");
    assert!(!out.write_run(&stream, &Run { format: Format::Protobuf, ..run(9) }), "in another format");
    assert!(!out.write_run(&stream, &Run { more: true, ..run(9) }), "the end of the topic follows");

    type Change = fn(&mut Out);
    let changes: [(&str, Change); 6] = [
        ("a look at the readers", |out| _ = out.slots()),
        ("news of another topic", |out| out.dirty = 2),
        ("an answer that waits", |out| out.queue(b"answer")),
        ("a client that takes no more", |out| out.blocked = true),
        ("a close frame", |out| out.close(Close::Gone, b"", out.progress)),
        ("a broken stream", Out::fail),
    ];
    for (why, change) in changes {
        let mut out = open();
        change(&mut out);
        assert!(!out.write_run(&stream, &run(7)), "{why}");
    }
    assert_eq!(stream.sent(), 6);
    let mut read = [0; 16];
    client.readable().await.expect("readable");
    let length = client.try_read(&mut read).expect("read");
    assert_eq!(&read[..length], b"runrun");
}

#[test]
fn a_broken_connection_has_no_unread_answers() {
    let now = Wheel::new().now();
    let mut out = Out::new(Format::Json, now, now);
    out.queue(&[0; 20_000]);
    assert_eq!((out.unread(), out.is_drained()), (20_000, false));
    out.fail();
    assert_eq!((out.unread(), out.is_drained()), (0, true));
}
