//! One command, from its submission to its final frame.

use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde_json::{Value, json};
use turnpike_testkit::{Closed, Person, SingleProcess, Stack};

const READ_DTC: &str = "ReadDTC";

fn ecu() -> Value {
    json!({ "ecuAddress": "0x10" })
}

/// Checks all frames of a completed command: statuses, sequence numbers and offsets.
#[track_caller]
fn assert_complete(frames: &[Value], command_id: &str) {
    assert_eq!(frames[0]["event"], "status");
    assert_eq!(frames[0]["status"], "pending", "the first event is always pending");
    let last = frames.last().expect("frames");
    assert_eq!((&last["event"], &last["status"]), (&json!("status"), &json!("completed")));
    let responses: Vec<_> = frames.iter().filter(|frame| frame["event"] == "response").collect();
    for (n, response) in (1..).zip(&responses) {
        assert_eq!(response["sequence_number"], n);
        assert_eq!(response["is_final"], n == responses.len());
    }
    for (n, frame) in (1..).zip(frames) {
        assert_eq!(frame["command_id"], command_id, "no frame of another command");
        assert_eq!(frame["topic"], format!("response:{command_id}"));
        let offset = frame["offset"].as_str().expect("an offset");
        assert_eq!(offset.split('-').nth(1), Some(n.to_string().as_str()), "offsets without a gap or a duplicate");
    }
}

async fn completed(socket: turnpike_testkit::Socket) -> Vec<Value> {
    let (frames, closed) = socket.until_closed().await;
    assert_eq!(closed, Closed { code: 1000, reason: String::new() });
    frames
}

#[tokio::test]
async fn early_and_late_clients_receive_the_same_frames() {
    let turnpike = SingleProcess::start(&[("TURNPIKE_MOCK_DELAY_MS", "60")]).await;
    check_early_and_late(&turnpike.admin().await, &turnpike.admin().await).await;
}

#[tokio::test]
async fn early_and_late_clients_receive_the_same_frames_on_two_gateways() {
    let stack = Stack::start(2, &[("TURNPIKE_MOCK_DELAY_MS", "60")]).await;
    let here = stack.admin(0).await;
    let there = here.at(stack.url(1));
    check_early_and_late(&here, &there).await;
}

async fn check_early_and_late(here: &Person, there: &Person) {
    let vehicle = &here.vehicles().await[0];
    let id = here.send_command(vehicle, READ_DTC, ecu()).await;
    let early = there.watch(&id).await;
    let mut during = here.watch(&id).await;
    let mut received = vec![during.frame_of(&["response"]).await];
    let second = there.watch(&id).await; // opened in the middle, receives the start too
    let (rest, closed) = during.until_closed().await;
    assert_eq!(closed.code, 1000);
    received.extend(rest);
    let early = completed(early).await;
    assert_complete(&early, &id);
    assert_eq!(completed(second).await, early);
    assert_eq!(completed(there.watch(&id).await).await, early, "after the end");
    assert_eq!(received, early[early.len() - received.len()..]);

    let archived = there.get(&format!("/api/commands/{id}/responses")).await.json;
    let responses = early.iter().filter(|frame| frame["event"] == "response");
    let received: Vec<_> = responses.map(|frame| frame["response"].clone()).collect();
    let archived: Vec<_> = archived.as_array().expect("a list").iter().map(|row| row["response"].clone()).collect();
    assert_eq!(archived, received);
    assert_eq!(here.get(&format!("/api/commands/{id}")).await.json["status"], "completed");
}

#[tokio::test]
async fn a_client_that_reconnects_at_random_points_receives_every_frame_once() {
    let turnpike = SingleProcess::start(&[("TURNPIKE_MOCK_DELAY_MS", "3")]).await;
    let admin = turnpike.admin().await;
    let vehicles = admin.vehicles().await;
    let runs: u64 = 300;
    for seed in 0..runs {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let vehicle = &vehicles[rng.random_range(0..vehicles.len())];
        let id = admin.send_command(vehicle, READ_DTC, ecu()).await;
        let uninterrupted = admin.watch(&id).await;
        let interrupted = read_with_interruptions(&admin, &id, &mut rng).await;
        let whole = completed(uninterrupted).await;
        assert_complete(&whole, &id);
        assert_eq!(interrupted, whole, "seed {seed}");
    }
}

/// Reads up to two frames, drops the connection and resumes after the last offset, until the gateway closes the socket.
async fn read_with_interruptions(person: &Person, id: &str, rng: &mut ChaCha8Rng) -> Vec<Value> {
    let mut frames: Vec<Value> = Vec::new();
    loop {
        let mut socket = match frames.last() {
            None => person.watch(id).await,
            Some(last) => person.watch_since(id, last["offset"].as_str().expect("an offset")).await,
        };
        for _ in 0..rng.random_range(0..3) {
            match socket.next().await {
                Ok(frame) => frames.push(frame),
                Err(closed) => {
                    assert_eq!(closed.code, 1000);
                    return frames;
                }
            }
        }
        socket.abort();
    }
}

#[tokio::test]
async fn every_command_of_the_catalogue_completes() {
    let turnpike = SingleProcess::start(&[]).await;
    let admin = turnpike.admin().await;
    let vehicle = &admin.vehicles().await[0];
    for (name, params) in [
        ("ReadDTC", json!({ "ecuAddress": "0x11" })),
        ("ClearDTC", json!({ "ecuAddress": "0x10", "dtcCode": "P0420" })),
        ("ReadDataByID", json!({ "ecuAddress": "0x10", "dataId": "0xF190" })),
        ("RoutineControl", json!({ "ecuAddress": "0x11", "routineId": "0x0203", "action": "start" })),
        ("ECUReset", json!({ "ecuAddress": "0x13" })),
    ] {
        let id = admin.send_command(vehicle, name, params).await;
        let frames = completed(admin.watch(&id).await).await;
        assert_complete(&frames, &id);
        if name == "ReadDataByID" {
            assert_eq!(frames[2]["response"]["value"], vehicle["vin"]);
        }
    }
}

#[tokio::test]
async fn requests_with_one_idempotency_key_have_one_effect() {
    let turnpike = SingleProcess::start(&[]).await;
    let admin = turnpike.admin().await;
    let vehicle = &admin.vehicles().await[0];
    let body = json!({ "vehicle_id": vehicle["id"], "command_name": READ_DTC, "command_params": ecu() });
    let post = |body: Value| {
        let request = admin.request(reqwest::Method::POST, "/api/commands").json(&body);
        let admin = admin.clone();
        async move { admin.send(request.header("Idempotency-Key", "the same")).await }
    };
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..100 {
        requests.spawn(post(body.clone()));
    }
    let answers = requests.join_all().await;
    let first = answers
        .iter()
        .find(|answer| !answer.headers.contains_key("idempotency-replayed"))
        .expect("one response is not a replay");
    assert_eq!(answers.iter().filter(|a| a.headers.contains_key("idempotency-replayed")).count(), 99);
    for answer in &answers {
        assert_eq!((answer.status, &answer.json), (201, &first.json));
    }
    let other =
        json!({ "vehicle_id": vehicle["id"], "command_name": READ_DTC, "command_params": { "ecuAddress": "0x11" } });
    assert_eq!(post(other).await.status, 409);

    let account = async |name: &str| {
        let body =
            json!({ "email": "ada@example.com", "username": name, "password": turnpike_testkit::ADMIN_PASSWORD });
        let request = admin.request(reqwest::Method::POST, "/api/admin/users").json(&body);
        admin.send(request.header("Idempotency-Key", "an account")).await
    };
    let (first, again) = (account("ada").await, account("ada").await);
    assert_eq!((first.status, again.status, &first.json), (201, 201, &again.json));
    assert!(!first.headers.contains_key("idempotency-replayed") && again.headers.contains_key("idempotency-replayed"));
    assert_eq!(account("eve").await.status, 409);
    assert_eq!(admin.get("/api/commands").await.json.as_array().map(Vec::len), Some(1));
}
