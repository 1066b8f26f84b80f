//! Presence of users in rooms, ten in each, on two gateways, while a gateway, Redis and the chat service are killed. What the chat service
//! reports is compared with the lists that the clients keep by themselves, from the events of their rooms. `scripts/stress presence` runs it
//! with a thousand users in a hundred rooms.

#![expect(clippy::print_stdout, reason = "the figures of scripts/stress")]
#![expect(clippy::disallowed_methods, reason = "scripts/stress sets the number of rooms in the environment")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use hkdf::Hkdf;
use secrecy::SecretBox;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{
    sync::Semaphore,
    task::{AbortHandle, JoinSet},
    time::Instant,
};
use turnpike_client::{Client, Fixed, Options, SecretString, Since, Topic, Update};
use turnpike_kit::Clock;
use turnpike_testkit::{Person, Stack, eventually};
use turnpike_token::{Claims, LIFETIME, Role, SigningKey};
use turnpike_topic::{SessionId, UserId};
use uuid::Uuid;

/// Users in one room. The first of them has three sockets, on both gateways.
const IN_A_ROOM: usize = 10;
/// The number of rooms, and the variable that sets another one.
const ROOMS: (usize, &str) = (15, "TURNPIKE_TEST_PRESENCE_ROOMS");
const SECRET: &str = "a secret that the test knows, of 32 characters and more";

type People = BTreeSet<String>;
/// The list of each client that is connected: its number, its room, who is there.
type Lists = Arc<Mutex<BTreeMap<usize, (String, People)>>>;
/// The users of each room, with the number of their connections.
type Expected = BTreeMap<String, BTreeMap<String, u64>>;

/// The gateway, the room and the user of a client that is connected.
struct Connected {
    number: usize,
    gateway: usize,
    room: String,
    user: String,
    task: AbortHandle,
}

/// Access tokens as auth signs them. Passwords are slow by design, so a thousand users do not sign in here.
struct Tokens(SigningKey);

impl Tokens {
    fn new() -> Self {
        let mut key = Box::new([0; 32]);
        let secret = Hkdf::<Sha256>::new(Some(b"turnpike-auth"), SECRET.as_bytes());
        secret.expand_multi_info(&[b"signing key", b"1"], key.as_mut_slice()).expect("a short key");
        Self(SigningKey::from_secret(&SecretBox::new(key)))
    }

    fn sign(&self, user_id: UserId) -> SecretString {
        let now = Clock::system().now();
        let claims = Claims {
            user_id,
            session_id: SessionId::from(Uuid::now_v7()),
            token_id: Uuid::now_v7(),
            username: format!("user-{}", &user_id.to_string()[24..]).into(),
            role: Role::User,
            issued_at: now,
            expires_at: now + LIFETIME,
            auth_time: now,
            api_key: None,
        };
        self.0.sign(&claims).into()
    }
}

/// A client in a room. It reads the list after it has subscribed, and then keeps it by the events. It ends when its gateway is lost.
async fn keep_list(
    base: String,
    token: SecretString,
    room: String,
    number: usize,
    lists: Lists,
    turns: Arc<Semaphore>,
) {
    let topic: Topic = format!("room:{room}").parse().expect("a topic");
    let options = Options { pauses: (Duration::from_millis(50), Duration::from_millis(500)), attempts: Some(3) };
    let person = Person::anonymous(&base).with_token(secrecy::ExposeSecret::expose_secret(&token));
    let mut client = Client::new(&base, Fixed(token), options).expect("an address");
    client.follow(topic, Since::Live);
    while let Ok(update) = client.next().await {
        match update {
            // At the beginning, and after Redis has lost the topic: what was missed is in the list of the server.
            Update::CaughtUp { .. } => {
                let listed = loop {
                    // A thousand clients that ask at the same time would wait for one another.
                    let _turn = turns.acquire().await.expect("open");
                    match present(&person, &room).await {
                        Some(listed) => break listed.into_keys().collect(),
                        None => tokio::time::sleep(Duration::from_millis(50)).await,
                    }
                };
                lists.lock().expect("no panic").insert(number, (room.clone(), listed));
            }
            Update::Event { frame, .. } => {
                let mut lists = lists.lock().expect("no panic");
                let Some((_, list)) = lists.get_mut(&number) else { continue };
                let who = frame["user_id"].as_str().unwrap_or_default().to_owned();
                match frame["event"].as_str() {
                    Some("user_joined") => list.insert(who),
                    Some("user_left") => list.remove(&who),
                    _ => false,
                };
            }
            _ => {}
        }
    }
    lists.lock().expect("no panic").remove(&number);
}

/// The users of a room, with the number of their connections. `None`: the server cannot say it now.
async fn present(person: &Person, room: &str) -> Option<BTreeMap<String, u64>> {
    let answer = person.get(&format!("/api/rooms/{room}/users?limit=100")).await;
    let users = answer.json["users"].as_array()?;
    let user = |user: &Value| Some((user["user_id"].as_str()?.to_owned(), user["connection_count"].as_u64()?));
    let listed: Option<Vec<_>> = users.iter().map(user).collect();
    let (listed, count) = (listed?, users.len());
    let by_user: BTreeMap<_, _> = listed.into_iter().collect();
    assert_eq!(by_user.len(), count, "a user is listed once: {}", answer.text);
    Some(by_user)
}

/// Waits until the server and every client know exactly these users. Returns how long that took.
async fn all_agree(what: &str, admin: &Person, expected: &Expected, lists: &Lists) -> Duration {
    let began = Instant::now();
    let users: usize = expected.values().map(BTreeMap::len).sum();
    let connections: u64 = expected.values().flat_map(BTreeMap::values).sum();
    let by_room: BTreeMap<&String, People> =
        expected.iter().map(|(room, users)| (room, users.keys().cloned().collect())).collect();
    eventually(what, 15, || async {
        let stats: Value = admin.get("/api/rooms/stats").await.json;
        let counted = (stats["total_users"].as_u64()?, stats["total_connections"].as_u64()?);
        let counts = stats["rooms"].as_object()?;
        let rooms_agree = expected
            .iter()
            .all(|(room, users)| counts.get(room).and_then(Value::as_u64).unwrap_or_default() == users.len() as u64);
        let lists = lists.lock().expect("no panic");
        let agree =
            lists.len() as u64 == connections && lists.values().all(|(room, list)| by_room.get(room) == Some(list));
        (counted == (users as u64, connections) && rooms_agree && agree).then_some(())
    })
    .await;
    let took = began.elapsed();
    for (room, users) in expected {
        assert_eq!(present(admin, room).await.as_ref(), Some(users), "{what}: {room}");
    }
    println!("{what}: {users} users with {connections} sockets in {} rooms, after {took:.1?}", expected.len());
    took
}

/// Those clients leave of which `leaves` says so, by their place among the connected ones and their gateway.
fn leave(
    clients: &mut Vec<Connected>,
    expected: &mut Expected,
    lists: &Lists,
    leaves: impl Fn(usize, &Connected) -> bool,
) {
    let mut n = 0;
    clients.retain(|client| {
        n += 1;
        if !leaves(n, client) {
            return true;
        }
        client.task.abort();
        lists.lock().expect("no panic").remove(&client.number);
        let users = expected.get_mut(&client.room).expect("a room");
        let connections = users.get_mut(&client.user).expect("a user");
        *connections -= 1;
        if *connections == 0 {
            users.remove(&client.user);
        }
        false
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_sees_who_is_there_when_a_gateway_and_redis_are_killed() {
    let (rooms, variable) = ROOMS;
    let count = std::env::var(variable).map_or(rooms, |count| count.parse().expect("a number of rooms"));
    let mut stack = Stack::start(2, &[("TURNPIKE_AUTH_SECRET", SECRET)]).await;
    let (admin, tokens, lists) = (stack.admin(0).await, Tokens::new(), Lists::default());
    let turns = Arc::new(Semaphore::new(16));
    let (mut expected, mut clients, mut tasks) = (Expected::new(), Vec::new(), JoinSet::new());
    for n in 0..count {
        let made = admin.post("/api/rooms", json!({ "name": format!("Room {n}"), "visibility": "public" })).await;
        let room = made.json["id"].as_str().unwrap_or_else(|| panic!("{}", made.text)).to_owned();
        for nth in 0..IN_A_ROOM {
            let user_id = UserId::from(Uuid::now_v7());
            let sockets = if nth == 0 { 3 } else { 1 };
            expected.entry(room.clone()).or_default().insert(user_id.to_string(), sockets);
            for socket in 0..sockets as usize {
                let (number, gateway) = (clients.len(), (nth + socket) % 2);
                let base = stack.url(gateway).to_owned();
                let keeping = keep_list(base, tokens.sign(user_id), room.clone(), number, lists.clone(), turns.clone());
                let (room, user, task) = (room.clone(), user_id.to_string(), tasks.spawn(keeping));
                clients.push(Connected { number, gateway, room, user, task });
            }
        }
    }
    // The handshakes on a busy machine take longer than presence itself.
    let all = clients.len();
    eventually("a list of each client", 60, || async { (lists.lock().expect("no panic").len() == all).then_some(()) })
        .await;
    all_agree("everybody is present", &admin, &expected, &lists).await;

    // A clean leave: within seconds.
    leave(&mut clients, &mut expected, &lists, |n, _| n % 10 == 3);
    all_agree("those who left are gone", &admin, &expected, &lists).await;

    // kill -9 of a gateway: 15 s later its users are gone, and nobody else is: not those with another socket.
    stack.gateways[1].kill();
    leave(&mut clients, &mut expected, &lists, |_, client| client.gateway == 1);
    let took = all_agree("the users of the killed gateway are gone", &admin, &expected, &lists).await;
    assert!(took < Duration::from_secs(15), "{took:?}");

    // Redis loses everything: nobody leaves, and who leaves afterwards is gone for everybody.
    stack.redis.restart().await;
    leave(&mut clients, &mut expected, &lists, |n, _| n % 7 == 0);
    all_agree("the lists are right after a restart of Redis", &admin, &expected, &lists).await;
    // The chat service, too.
    stack.chat.kill();
    stack.chat.start();
    stack.gateways[1].start();
    stack.wait_until_ready().await;
    leave(&mut clients, &mut expected, &lists, |n, _| n % 7 == 0);
    all_agree("the lists are right after a restart of the chat service", &admin, &expected, &lists).await;
}
