//! Killed processes and lost Redis.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use turnpike_proto::vehicle::v1::ListExecutionsRequest;
use turnpike_testkit::{Person, Socket, Stack, eventually, within};

fn ecu(address: &str) -> Value {
    json!({ "ecuAddress": address })
}

fn isolation_test() -> Value {
    json!({ "ecuAddress": "0x11", "routineId": "0x0203", "action": "start" })
}

fn offset(frame: &Value) -> &str {
    frame["offset"].as_str().expect("an offset")
}

/// Waits until the API reports that the command has ended; returns the command.
async fn wait_until_ended(person: &Person, id: &str, seconds: u64) -> Value {
    eventually("the command to end", seconds, || async {
        let command = person.get(&format!("/api/commands/{id}")).await.json;
        let open = ["pending", "in_progress"].iter().any(|status| command["status"] == *status);
        (!open && command["status"].is_string()).then_some(command)
    })
    .await
}

#[tokio::test]
async fn a_killed_gateway_loses_nothing() {
    let mut stack = Stack::start(2, &[("TURNPIKE_MOCK_DELAY_MS", "300")]).await;
    let here = stack.admin(0).await;
    let there = here.at(stack.url(1));
    let vehicle = &here.vehicles().await[0];
    let id = here.send_command(vehicle, "RoutineControl", isolation_test()).await;
    let whole = there.watch(&id).await;
    let mut watch = here.watch(&id).await;
    let mut frames = vec![watch.frame().await, watch.frame().await, watch.frame().await];
    stack.gateways[0].kill();
    let closed = loop {
        match watch.next().await {
            Ok(frame) => frames.push(frame),
            Err(closed) => break closed,
        }
    };
    assert_eq!(closed.code, 1006, "no close frame");
    let (rest, closed) = there.watch_since(&id, offset(frames.last().expect("frames"))).await.until_closed().await;
    assert_eq!(closed.code, 1000);
    frames.extend(rest);
    assert_eq!(frames, whole.until_closed().await.0);
    assert_eq!(frames.last().expect("frames")["status"], "completed");
}

#[tokio::test]
async fn a_restarted_vehicles_service_resumes_its_commands() {
    let mut stack = Stack::start(1, &[("TURNPIKE_MOCK_DELAY_MS", "250")]).await;
    let admin = stack.admin(0).await;
    let vehicles = admin.vehicles().await;
    let id = admin.send_command(&vehicles[0], "RoutineControl", isolation_test()).await;
    let mut watch = admin.watch(&id).await;
    watch.frame_of(&["response"]).await;
    stack.vehicles.kill();
    // The connector continues to publish, and the client continues to receive.
    watch.frame_of(&["response"]).await;
    stack.vehicles.start();
    let (_, closed) = watch.until_closed().await;
    assert_eq!(closed.code, 1000);
    let command = wait_until_ended(&admin, &id, 15).await;
    assert_eq!(command["status"], "completed");
    let responses = admin.get(&format!("/api/commands/{id}/responses")).await.json;
    let numbers: Vec<_> = responses.as_array().expect("a list").iter().map(|r| r["sequence_number"].clone()).collect();
    assert_eq!(json!(numbers), json!([1, 2, 3, 4, 5]), "each response is archived once");
    let runs = stack.mock_control().list_executions(ListExecutionsRequest { vin: String::new() }).await;
    let runs = runs.expect("an answer").into_inner().executions;
    assert_eq!(runs.iter().map(|run| run.times_run).collect::<Vec<_>>(), [1], "the command was executed once");
}

#[tokio::test]
async fn commands_of_a_killed_connector_end_and_unsafe_ones_are_not_repeated() {
    let mut stack = Stack::start(1, &[("TURNPIKE_MOCK_DELAY_MS", "400")]).await;
    let admin = stack.admin(0).await;
    let vehicles = admin.vehicles().await;
    let read = admin.send_command(&vehicles[0], "ReadDTC", ecu("0x10")).await;
    let unsafe_ = admin.send_command(&vehicles[1], "RoutineControl", isolation_test()).await;
    let (mut read_socket, mut unsafe_socket) = (admin.watch(&read).await, admin.watch(&unsafe_).await);
    read_socket.frame_of(&["response"]).await;
    unsafe_socket.frame_of(&["response"]).await;
    let started = Instant::now();
    stack.mock.kill();
    eventually("the vehicles to be disconnected", 15, || async {
        let disconnected = admin.get("/api/vehicles?status=disconnected").await.json;
        (disconnected.as_array().map(Vec::len) == Some(3)).then_some(())
    })
    .await;
    stack.mock.start();
    assert_eq!(wait_until_ended(&admin, &read, 40).await["status"], "failed");
    let command = wait_until_ended(&admin, &unsafe_, 40).await;
    assert_eq!((&command["status"], &command["error_code"]), (&json!("unknown"), &json!("CONNECTOR_LOST")));
    assert!(started.elapsed() < Duration::from_secs(40), "within the deadline plus ten seconds");
    let (frames, _) = unsafe_socket.until_closed().await;
    assert_eq!(frames.last().expect("frames")["status"], "unknown");
    let runs = stack.mock_control().list_executions(ListExecutionsRequest { vin: String::new() }).await;
    assert!(
        runs.expect("an answer").into_inner().executions.is_empty(),
        "the restarted connector has executed nothing"
    );
}

#[tokio::test]
async fn a_command_of_a_lost_connector_times_out_at_its_deadline() {
    let mut stack = Stack::start(1, &[("TURNPIKE_MOCK_DELAY_MS", "60000")]).await;
    let admin = stack.admin(0).await;
    let vehicle = &admin.vehicles().await[0];
    let body = json!({ "vehicle_id": vehicle["id"], "command_name": "ReadDTC", "command_params": ecu("0x10"), "timeout_seconds": 3 });
    let id = admin.post("/api/commands", body).await.json["command_id"].as_str().expect("an id").to_owned();
    let mut watch = admin.watch(&id).await;
    // The connector must have accepted the command first: a command that was never dispatched fails instead of timing out.
    while watch.frame_of(&["status"]).await["status"] != "in_progress" {}
    stack.mock.kill();
    let command = wait_until_ended(&admin, &id, 13).await;
    assert_eq!(command["status"], "timed_out");
    let (frames, closed) = watch.until_closed().await;
    assert_eq!((&frames.last().expect("frames")["status"], closed.code), (&json!("timed_out"), 1000));
}

#[tokio::test]
async fn a_redis_that_loses_its_data_causes_a_reset_and_the_archive_is_complete() {
    let mut stack = Stack::start(2, &[("TURNPIKE_MOCK_DELAY_MS", "1500")]).await;
    let (admin, vehicle) = (stack.admin(0).await, stack.admin(0).await.vehicles().await[0].clone());
    let id = admin.send_command(&vehicle, "RoutineControl", isolation_test()).await;
    let (mut near, mut far) = (admin.watch(&id).await, admin.at(stack.url(1)).watch(&id).await);
    let received = near.frame_of(&["response"]).await;
    far.frame_of(&["response"]).await;
    // Redis may lose only events that are archived.
    eventually("the first archived response", 10, || async {
        let archived = admin.get(&format!("/api/commands/{id}/responses")).await.json;
        archived.as_array().is_some_and(|all| !all.is_empty()).then_some(())
    })
    .await;
    stack.redis.restart().await; // without data

    for watch in [&mut near, &mut far] {
        let frame = within("a reset or a response", 10, skip_errors(watch)).await;
        assert!(["reset", "response"].contains(&frame["event"].as_str().expect("an event")), "{frame}");
    }
    let (frames, closed) = near.until_closed().await;
    assert_eq!(closed.code, 1000);
    assert_eq!(frames.last().expect("frames")["status"], "completed");
    let command = wait_until_ended(&admin, &id, 15).await;
    assert_eq!(command["status"], "completed");
    let archived = admin.get(&format!("/api/commands/{id}/responses")).await.json;
    let numbers: Vec<_> = archived.as_array().expect("a list").iter().map(|r| r["sequence_number"].clone()).collect();
    assert_eq!(json!(numbers), json!([1, 2, 3, 4, 5]));

    // A late client receives the whole command from the archive, and a returning client resumes from it.
    let (late, closed) = admin.watch(&id).await.until_closed().await;
    assert_eq!((closed.code, &late[0]["status"]), (1000, &json!("pending")));
    assert_eq!(late.iter().filter(|frame| frame["event"] == "response").count(), 5);
    let (resumed, _) = admin.watch_since(&id, offset(&received)).await.until_closed().await;
    let position = late.iter().position(|frame| frame == &received).expect("the earlier frame is archived");
    assert_eq!(resumed, late[position + 1..]);
}

/// The next frame that is not an error about the unreachable bus.
async fn skip_errors(watch: &mut Socket) -> Value {
    loop {
        let frame = watch.frame().await;
        if frame["event"] != "error" {
            return frame;
        }
        assert_eq!(frame["code"], "UPSTREAM_UNAVAILABLE");
    }
}

#[tokio::test]
async fn without_redis_commands_are_refused_promptly_and_later_accepted_again() {
    let mut stack = Stack::start(1, &[]).await;
    let admin = stack.admin(0).await;
    let vehicle = &admin.vehicles().await[0];
    let mut socket = admin.socket().await;
    assert_eq!(socket.frame().await["event"], "hello");
    stack.redis.kill();
    let error = within("an error frame on the socket", 10, socket.frame_of(&["error"])).await;
    assert_eq!(error["code"], "UPSTREAM_UNAVAILABLE");
    eventually("a prompt refusal", 5, || async {
        let started = Instant::now();
        let answer = admin.command(vehicle, "ReadDTC", ecu("0x10")).await;
        assert!(started.elapsed() < Duration::from_secs(3), "the refusal takes less than 3 s");
        (answer.status == 503 && answer.headers.contains_key("retry-after")).then_some(())
    })
    .await;
    let ready = Person::anonymous(stack.url(0)).get("/health/ready").await;
    assert_eq!((ready.status, ready.json["missing"]["bus"].is_string()), (503, true), "{}", ready.text);
    assert_eq!(admin.get("/api/auth/me").await.status, 200, "requests that need no bus succeed");

    stack.redis.restart().await;
    stack.wait_until_ready().await;
    let id = admin.send_command(vehicle, "ReadDTC", ecu("0x10")).await;
    let (frames, closed) = admin.watch(&id).await.until_closed().await;
    assert_eq!((&frames.last().expect("frames")["status"], closed.code), (&json!("completed"), 1000));
}

#[tokio::test]
async fn a_restarted_auth_keeps_sockets_open_and_still_ends_sessions() {
    let mut stack = Stack::start(2, &[]).await;
    let admin = stack.admin(0).await;
    let person = admin.create_user("operator").await;
    let mut socket = person.at(stack.url(1)).socket().await;
    assert_eq!(socket.frame().await["event"], "hello");
    stack.auth.kill();
    socket.send(json!({ "action": "ping" })).await;
    assert_eq!(socket.frame().await["event"], "pong");
    assert_eq!(person.get("/api/vehicles").await.status, 200, "tokens are verified without auth");
    stack.auth.start();
    stack.wait_until_ready().await;
    socket.send(json!({ "action": "ping" })).await;
    assert_eq!(socket.frame().await["event"], "pong");
    let user = format!("/api/admin/users/{}", person.id());
    let started = Instant::now();
    assert_eq!(admin.patch(&user, json!({ "active": false })).await.status, 200);
    let (_, closed) = socket.until_closed().await;
    assert_eq!((closed.code, closed.reason.as_str()), (4401, "User account is inactive"));
    assert!(started.elapsed() < Duration::from_secs(2));
}

/// A paused Redis, as when its machine swaps: requests sent during the pause are executed after it.
#[tokio::test]
async fn a_paused_redis_loses_and_duplicates_no_event() {
    let stack = Stack::start(1, &[("TURNPIKE_MOCK_DELAY_MS", "400")]).await;
    let admin = stack.admin(0).await;
    let vehicle = &admin.vehicles().await[0];
    for _ in 0..2 {
        let id = admin.send_command(vehicle, "ReadDTC", ecu("0x10")).await;
        let mut watch = admin.watch(&id).await;
        let mut frames = vec![watch.frame().await, watch.frame().await];
        stack.redis.pause();
        // Longer than the timeouts of a bus connection and of a publish.
        tokio::time::sleep(Duration::from_secs(4)).await;
        stack.redis.resume();
        frames.extend(within("the rest", 20, watch.until_closed()).await.0);
        let events: Vec<_> = frames.iter().filter(|frame| frame["offset"].is_string()).collect();
        let numbers: Vec<_> = events
            .iter()
            .filter(|frame| frame["event"] == "response")
            .map(|frame| frame["sequence_number"].clone())
            .collect();
        assert_eq!(numbers, [1, 2, 3], "{events:?}");
        assert_eq!(events.iter().filter(|frame| frame["event"] == "status").count(), 3, "{events:?}");
        assert_eq!(wait_until_ended(&admin, &id, 10).await["status"], "completed");
        let archived = admin.get(&format!("/api/commands/{id}/responses")).await.json;
        assert_eq!(archived.as_array().map(Vec::len), Some(3), "{archived}");
    }
}
