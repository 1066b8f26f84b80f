//! Clients that send more than they may.

use serde_json::json;
use turnpike_testkit::{One, Watch};

async fn opened(one: &One) -> Watch {
    let mut socket = one.admin().await.socket().await;
    assert_eq!(socket.frame().await["event"], "hello");
    socket
}

/// Sends until the socket is closed; gives how many frames were sent, the `error` frames, and the close code.
async fn flood(mut socket: Watch, most: usize, mut send: impl AsyncFnMut(&mut Watch) -> bool) -> (usize, usize, u16) {
    let (mut sent, mut errors) = (0, 0);
    while sent < most && send(&mut socket).await {
        sent += 1;
    }
    loop {
        match socket.next().await {
            Ok(frame) if frame["event"] == "error" => {
                assert_eq!(frame["code"], "RATE_LIMITED", "{frame}");
                assert!(frame["retry_after"].as_u64().is_some_and(|seconds| (1..=60).contains(&seconds)), "{frame}");
                errors += 1;
            }
            Ok(_) => {}
            Err(closed) => return (sent, errors, closed.code),
        }
    }
}

#[tokio::test]
async fn a_flood_of_messages_is_answered_for_a_while_and_then_closed() {
    let one = One::start(&[("TURNPIKE_LIMIT_MESSAGES_PER_MINUTE", "1")]).await;
    let mut socket = opened(&one).await;
    // Over the limit: an error frame, and the socket stays. What is over it is not even parsed.
    for n in 0..40 {
        socket.say_text("{ no JSON").await;
        let code = socket.frame_of(&["error"]).await["code"].clone();
        assert_eq!(code, if n == 0 { "INVALID_JSON" } else { "RATE_LIMITED" });
    }
    let again = json!({ "action": "ping" }).to_string();
    let (_, errors, code) = flood(socket, 200, async |socket| socket.try_say_text(&again).await).await;
    assert_eq!(code, 4429);
    assert_eq!(errors + 39, 60, "refusals that are answered within a minute");
}

#[tokio::test]
async fn a_flood_of_pings_or_pongs_is_closed_and_heartbeats_are_not() {
    let one = One::start(&[("TURNPIKE_LIMIT_MESSAGES_PER_MINUTE", "5"), ("TURNPIKE_HEARTBEAT_SECONDS", "1")]).await;
    for pings in [true, false] {
        let (_, errors, code) = flood(opened(&one).await, 1000, async |socket| socket.try_control(pings).await).await;
        assert_eq!(code, 4429);
        assert!((58..=60).contains(&errors), "{errors}");
    }
    // A client that answers the gateway's pings and sends a ping a second itself is within its allowance.
    let mut quiet = opened(&one).await;
    for _ in 0..6 {
        assert!(quiet.try_control(true).await);
        quiet.idle(std::time::Duration::from_secs(1)).await.expect("an open socket");
    }
    quiet.say(json!({ "action": "ping", "id": 1 })).await;
    assert_eq!(quiet.frame().await, json!({ "event": "pong", "id": 1 }));
}
