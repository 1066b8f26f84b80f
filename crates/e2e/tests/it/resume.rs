//! Resuming a topic: at an offset beyond its head, after its final event, after Redis has lost events.

use serde_json::{Value, json};
use turnpike_bus::{Bus, Limits};
use turnpike_testkit::{Person, RedisServer, SingleProcess, Stack, eventually, within};
use turnpike_topic::Topic;

async fn send(person: &Person) -> String {
    let vehicle = &person.vehicles().await[0];
    person.send_command(vehicle, "ReadDTC", json!({ "ecuAddress": "0x10" })).await
}

fn offset(frame: &Value) -> String {
    frame["offset"].as_str().expect("an offset").to_owned()
}

fn epoch(offset: &str) -> u64 {
    offset.split_once('-').and_then(|(epoch, _)| epoch.parse().ok()).expect("an epoch")
}

/// Reads a stream of server-sent events to its end; returns the status and the frames.
async fn events(person: &Person, path: &str) -> (u16, Vec<Value>) {
    let answer = person.get(path).await;
    let data = answer.text.lines().filter_map(|line| line.strip_prefix("data: "));
    (answer.status, data.map(|text| serde_json::from_str(text).expect("JSON")).collect())
}

async fn subscribe(person: &Person, topic: &str, since: &str) -> turnpike_testkit::Socket {
    let mut socket = person.socket().await;
    assert_eq!(socket.frame().await["event"], "hello");
    socket.send(json!({ "action": "subscribe", "id": 1, "topic": topic, "since": since })).await;
    assert_eq!(socket.frame().await["event"], "subscribed");
    socket
}

#[tokio::test]
async fn an_offset_beyond_the_head_causes_a_reset_in_one_process() {
    let turnpike = SingleProcess::start(&[("TURNPIKE_MOCK_DELAY_MS", "1500")]).await;
    check_beyond_the_head(&turnpike.admin().await).await;
}

#[tokio::test]
async fn an_offset_beyond_the_head_causes_a_reset_with_redis() {
    let stack = Stack::start(1, &[("TURNPIKE_MOCK_DELAY_MS", "1500")]).await;
    check_beyond_the_head(&stack.admin(0).await).await;
}

async fn check_beyond_the_head(admin: &Person) {
    let id = send(admin).await;
    let mut uninterrupted = admin.watch(&id).await;
    let first = uninterrupted.frame().await;
    let ahead = format!("{}-999", epoch(&offset(&first)));
    let topic = format!("response:{id}");

    // The gateway already follows the topic for the first socket, so it answers from its recent frames.
    let mut socket = subscribe(admin, &topic, &ahead).await;
    let reset = socket.frame().await;
    assert_eq!((&reset["event"], &reset["reason"]), (&json!("reset"), &json!("epoch")), "{reset}");
    assert_eq!(socket.frame().await, first, "then the history from the start");
    let mut watch = admin.watch_since(&id, &ahead).await;
    assert_eq!(watch.frame().await["event"], "reset");
    let (rest, closed) = watch.until_closed().await;
    assert_eq!((&rest[0], closed.code), (&first, 1000));
    let (whole, _) = uninterrupted.until_closed().await;
    assert_eq!(rest[1..], whole, "nothing is missing");

    let (status, frames) = events(admin, &format!("/api/topics/{topic}/events?since={ahead}")).await;
    assert_eq!((status, &frames[0]["event"], &frames[1]), (200, &json!("reset"), &first));
}

#[tokio::test]
async fn every_offset_of_an_ended_command_leads_to_its_end() {
    let stack = Stack::start(1, &[("TURNPIKE_LIMIT_SOCKETS_PER_USER", "2")]).await;
    let admin = stack.admin(0).await;
    let id = send(&admin).await;
    let (frames, _) = admin.watch(&id).await.until_closed().await;
    let topic = format!("response:{id}");
    eventually("the command to be completed in the API", 10, || async {
        (admin.get(&format!("/api/commands/{id}")).await.json["status"] == "completed").then_some(())
    })
    .await;
    for expired in [false, true] {
        if expired {
            let bus = Bus::redis(&stack.redis.url(), Limits::default()).expect("a URL");
            bus.forget(&topic.parse::<Topic>().expect("a topic")).await.expect("the topic is removed");
        }
        check_every_offset(&admin, &id, &frames).await;
    }
}

async fn check_every_offset(admin: &Person, id: &str, frames: &[Value]) {
    let topic = format!("response:{id}");
    let last = offset(frames.last().expect("frames"));
    let middle = offset(&frames[1]);
    let older = format!("{}-3", epoch(&last) - 1);
    let ahead = format!("{}-999", epoch(&last));

    // In total more sockets than a user may have at once: the gateway must release each one.
    for (since, resets, expected) in [
        (last.as_str(), 0, &frames[frames.len()..]),
        ("live", 0, &frames[frames.len()..]),
        (middle.as_str(), 0, &frames[2..]),
        ("start", 0, frames),
        (older.as_str(), 1, frames),
        (ahead.as_str(), 1, frames),
    ] {
        let (received, closed) = within("the end", 20, admin.watch_since(id, since).await.until_closed()).await;
        assert_eq!(closed.code, 1000, "since {since}");
        assert_eq!(received.iter().filter(|frame| frame["event"] == "reset").count(), resets, "since {since}");
        assert_eq!(received[resets..], *expected, "since {since}");

        let mut socket = subscribe(admin, &topic, since).await;
        for _ in 0..resets {
            assert_eq!(socket.frame().await["event"], "reset", "since {since}");
        }
        for frame in expected {
            assert_eq!(socket.frame().await, *frame, "since {since}");
        }
        assert_eq!(socket.frame().await, json!({ "event": "caught_up", "topic": topic, "head": last }));
        assert_eq!(socket.frame().await, json!({ "event": "closed", "topic": topic }));
        socket.close().await;

        let (status, received) = events(admin, &format!("/api/topics/{topic}/events?since={since}")).await;
        match expected {
            [] => assert_eq!(
                (status, received.len()),
                (204, 0),
                "an EventSource stops reconnecting at 204; since {since}"
            ),
            _ => {
                assert_eq!((status, &received[resets..resets + expected.len()]), (200, expected), "since {since}");
                assert_eq!(received.last().expect("frames")["event"], "closed");
            }
        }
    }
    let path = format!("/api/topics/{topic}/events");
    let request = admin.request(reqwest::Method::GET, &path).header("Last-Event-ID", &last);
    assert_eq!(admin.send(request).await.status, 204);
}

/// Checks that offsets are consecutive, except after a `reset`.
fn check_order(frames: &[Value]) {
    let mut last: Option<(u64, u64)> = None;
    for frame in frames {
        if frame["event"] == "reset" {
            last = None;
        } else if let Some((epoch, n)) = frame["offset"].as_str().and_then(|offset| offset.split_once('-')) {
            let now: (u64, u64) = (epoch.parse().expect("an epoch"), n.parse().expect("a number"));
            assert!(last.is_none_or(|last| now == (last.0, last.1 + 1)), "{now:?} after {last:?} without a reset");
            last = Some(now);
        }
    }
}

/// Redis restarts without its newest events while a command runs.
#[tokio::test]
async fn events_lost_by_redis_cause_a_reset_and_their_offsets_are_not_reused() {
    let redis = RedisServer::start(true).await;
    let mut stack = Stack::start_on(redis, 2, &[("TURNPIKE_MOCK_DELAY_MS", "1500")]).await;
    let admin = stack.admin(0).await;
    let vehicle = admin.vehicles().await[0].clone();
    let params = json!({ "ecuAddress": "0x11", "routineId": "0x0203", "action": "start" });
    let id = admin.send_command(&vehicle, "RoutineControl", params).await;
    let mut near = admin.watch(&id).await;
    let mut received = vec![near.frame_of(&["response"]).await];
    let length = stack.redis.append_only_length();
    received.push(near.frame_of(&["response"]).await);
    let lost = offset(received.last().expect("frames"));
    eventually("two archived responses", 10, || async {
        let archived = admin.get(&format!("/api/commands/{id}/responses")).await.json;
        (archived.as_array().map(Vec::len) >= Some(2)).then_some(())
    })
    .await;
    stack.redis.restart_truncated(length).await;

    let (frames, closed) = within("the end", 60, near.until_closed()).await;
    assert_eq!(closed.code, 1000);
    check_order(&frames);
    assert_eq!(frames.last().expect("frames")["status"], "completed");
    let end = offset(frames.last().expect("frames"));
    assert!(epoch(&end) > epoch(&lost), "the lost offsets are not used again");
    eventually("the command to end", 20, || async {
        (admin.get(&format!("/api/commands/{id}")).await.json["status"] == "completed").then_some(())
    })
    .await;
    let archived = admin.get(&format!("/api/commands/{id}/responses")).await.json;
    let numbers: Vec<_> =
        archived.as_array().expect("a list").iter().map(|response| response["sequence_number"].clone()).collect();
    assert_eq!(json!(numbers), json!([1, 2, 3, 4, 5]), "every response is archived once");

    let (late, closed) = within("the end", 20, admin.at(stack.url(1)).watch(&id).await.until_closed()).await;
    assert_eq!(closed.code, 1000);
    check_order(&late);
    assert_eq!(late.iter().filter(|frame| frame["event"] == "reset").count(), 1, "the epoch changed once: {late:?}");
    let (resumed, _) = admin.watch_since(&id, &lost).await.until_closed().await;
    let position = late.iter().position(|frame| frame["offset"] == json!(lost)).expect("the lost event is archived");
    assert_eq!(resumed, late[position + 1..], "a client that resumes after the lost offset receives every later frame");
}

#[tokio::test]
async fn commands_are_refused_while_redis_is_full() {
    let stack = Stack::start(1, &[]).await;
    let admin = stack.admin(0).await;
    let vehicle = admin.vehicles().await[0].clone();
    stack.redis.limit_memory(1).await;
    eventually("a refusal", 10, || async {
        let answer = admin.command(&vehicle, "ReadDTC", json!({ "ecuAddress": "0x10" })).await;
        (answer.status == 503).then_some(())
    })
    .await;
    eventually("the gateway to be not ready", 10, || async {
        let ready = Person::anonymous(stack.url(0)).get("/health/ready").await;
        (ready.status == 503 && ready.text.contains("refuses writes")).then_some(())
    })
    .await;
    stack.redis.limit_memory(0).await;
    stack.wait_until_ready().await;
    let id = send(&admin).await;
    let (frames, closed) = admin.watch(&id).await.until_closed().await;
    assert_eq!((&frames.last().expect("frames")["status"], closed.code), (&json!("completed"), 1000));
}
