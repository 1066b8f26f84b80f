//! Connections of a deployment of several gateways: all of them are listed and closed at any gateway, and a gateway that does not
//! answer is named. A gateway that stops closes its sockets one after the other, and they continue at another one.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};
use turnpike_testkit::{Answer, Person, SingleProcess, Socket, Stack, eventually};

async fn listed(admin: &Person) -> Answer {
    let answer = admin.get("/api/admin/connections?limit=100").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer
}

fn header(answer: &Answer, name: &str) -> String {
    answer.headers.get(name).map(|value| value.to_str().expect("text").to_owned()).unwrap_or_default()
}

fn ids(answer: &Answer) -> Vec<String> {
    let list = answer.json.as_array().expect("a list");
    list.iter().map(|one| one["id"].as_str().expect("an id").to_owned()).collect()
}

async fn open(person: &Person) -> Socket {
    let mut socket = person.socket().await;
    assert_eq!(socket.frame().await["event"], "hello");
    socket
}

/// The end of a gateway's address, as its name has it.
fn port(url: &str) -> &str {
    url.rsplit(':').next().expect("a port")
}

#[tokio::test]
async fn any_gateway_lists_and_closes_the_connections_of_all() {
    let mut stack = Stack::start(3, &[]).await;
    let admin = stack.admin(0).await;
    let ada = admin.create_user("user").await;
    let first = open(&ada).await;
    let second = open(&ada.at(stack.url(1))).await;
    let third = open(&ada.at(stack.url(2))).await;
    for gateway in 0..3 {
        let answer = listed(&admin.at(stack.url(gateway))).await;
        assert_eq!((ids(&answer).len(), header(&answer, "x-gateways-asked").as_str()), (3, "3"), "{}", answer.text);
        assert_eq!(header(&answer, "x-gateways-missing"), "");
    }
    let all = listed(&admin).await;
    let urls: Vec<String> = (0..3).map(|gateway| stack.url(gateway).to_owned()).collect();
    let at = |gateway: usize| {
        let name = port(&urls[gateway]).to_owned();
        let list = all.json.as_array().expect("a list").clone();
        let one = list.into_iter().find(|one| one["gateway"].as_str().is_some_and(|full| full.ends_with(&name)));
        one.and_then(|one| one["id"].as_str().map(str::to_owned)).expect("a connection of the gateway")
    };
    // A connection of another gateway is closed, and one that nobody has is not found.
    let path = format!("/api/admin/connections/{}", at(1));
    assert_eq!(admin.delete(&path).await.status, 204);
    let (_, closed) = second.until_closed().await;
    assert_eq!((closed.code, closed.reason.as_str()), (1008, "Closed by an administrator"));
    eventually("it to be gone", 10, || async { (admin.delete(&path).await.status == 404).then_some(()) }).await;

    // A gateway that is paused received the request, and is named; what it has is not known.
    stack.gateways[2].signal("STOP");
    let began = Instant::now();
    let answer = listed(&admin).await;
    assert!(began.elapsed() < Duration::from_secs(15), "the wait is bounded");
    assert_eq!((ids(&answer), header(&answer, "x-gateways-asked").as_str()), (vec![at(0)], "3"));
    assert!(header(&answer, "x-gateways-missing").ends_with(port(stack.url(2))), "{:?}", answer.headers);
    let unknown = admin.delete(&path).await;
    assert_eq!((unknown.status, &unknown.json["code"]), (503, &json!("UPSTREAM_UNAVAILABLE")), "{}", unknown.text);
    stack.gateways[2].signal("CONT");
    eventually("it to answer again", 20, || async {
        header(&listed(&admin).await, "x-gateways-missing").is_empty().then_some(())
    })
    .await;

    // A gateway that was killed has no connections: nobody misses it.
    stack.gateways[2].kill();
    drop(third);
    let answer = eventually("the killed gateway to be forgotten", 20, || async {
        let answer = listed(&admin).await;
        header(&answer, "x-gateways-missing").is_empty().then_some(answer)
    })
    .await;
    assert_eq!((ids(&answer), header(&answer, "x-gateways-asked").as_str()), (vec![at(0)], "2"));

    // Without Redis, a gateway reports its own connections, and that the others are missing.
    stack.redis.kill();
    let answer = listed(&admin).await;
    assert_eq!(ids(&answer), [at(0)]);
    assert!(header(&answer, "x-gateways-missing").ends_with(port(stack.url(1))), "{:?}", answer.headers);
    drop(first);
}

#[tokio::test]
async fn one_process_lists_its_connections() {
    let single = SingleProcess::start(&[]).await;
    let admin = single.admin().await;
    let socket = open(&admin).await;
    let answer = listed(&admin).await;
    assert_eq!((ids(&answer).len(), header(&answer, "x-gateways-asked").as_str()), (1, "1"));
    assert_eq!(admin.delete(&format!("/api/admin/connections/{}", ids(&answer)[0])).await.status, 204);
    assert_eq!(socket.until_closed().await.1.code, 1008);
}

const SOCKETS: usize = 300;

/// The sockets of a gateway that stops are closed over time, with the delay in the reason; each of them resumes at the other
/// gateway and misses nothing, while messages are written all the time.
#[tokio::test]
async fn the_sockets_of_a_stopping_gateway_move_one_after_the_other_and_miss_nothing() {
    let mut stack = Stack::start(2, &[("TURNPIKE_DRAIN_SECONDS", "3")]).await;
    let admin = stack.admin(0).await;
    let made = admin.post("/api/rooms", json!({ "name": "Workshop", "visibility": "public" })).await;
    let room = made.json["id"].as_str().expect("an id").to_owned();
    let (base, other) = (stack.url(1).to_owned(), stack.url(0).to_owned());
    let path = format!("/ws/rooms/{room}?token={}", admin.token);
    let mut clients = JoinSet::new();
    for _ in 0..SOCKETS {
        let mut socket = Socket::open(&base, &path).await;
        assert_eq!(socket.frame().await["event"], "connection_ack");
        let (other, path) = (other.clone(), path.clone());
        clients.spawn(async move {
            let (mut contents, mut offset) = (Vec::new(), None::<String>);
            let (mut resumed, mut reason) = (None, String::new());
            loop {
                match socket.next().await {
                    Ok(frame) => {
                        if let Some(latest) = frame["offset"].as_str() {
                            offset = Some(latest.to_owned());
                        }
                        if frame["event"] == "message" {
                            contents.push(frame["content"].as_str().expect("a text").to_owned());
                        }
                        if frame["content"] == "the last one" {
                            return (contents, resumed.expect("it was closed once"), reason);
                        }
                    }
                    Err(closed) => {
                        assert_eq!(closed.code, 1001, "{closed:?}");
                        reason = closed.reason;
                        resumed = Some(Instant::now());
                        let since = offset.clone().unwrap_or_else(|| "start".to_owned());
                        socket = Socket::open(&other, &format!("{path}&since={since}")).await;
                    }
                }
            }
        });
    }
    let say = async |text: &str| {
        let answer = admin.post(&format!("/api/rooms/{room}/messages"), json!({ "content": text })).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
    };
    say("the first one").await;
    let stopping = async {
        let status = stack.gateways[1].stop().await;
        assert!(status.success(), "{status}");
    };
    let writing = async {
        for n in 0..40 {
            say(&n.to_string()).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::join!(stopping, writing);
    say("the last one").await;
    let expected: Vec<String> = std::iter::once("the first one".to_owned())
        .chain((0..40).map(|n| n.to_string()))
        .chain(std::iter::once("the last one".to_owned()))
        .collect();
    let mut times = Vec::new();
    while let Some(client) = clients.join_next().await {
        let (contents, resumed, reason) = client.expect("a client");
        assert_eq!((contents, reason.as_str()), (expected.clone(), "retry_after=1"));
        times.push(resumed);
    }
    times.sort_unstable();
    let mut intervals = vec![0; 8];
    for time in &times {
        let passed = time.duration_since(times[0]).as_millis() / 500;
        let last = intervals.len() - 1;
        intervals[usize::try_from(passed).expect("short").min(last)] += 1;
    }
    // Over 3 s: 50 in each half second. A busy machine may delay some of them.
    assert!(intervals.iter().all(|count| *count <= SOCKETS / 2), "reconnects in each half second: {intervals:?}");
    let users: Value = admin.get(&format!("/api/rooms/{room}/users")).await.json;
    assert_eq!(users["users"][0]["user_id"], admin.id(), "and stayed present: {users}");
}
