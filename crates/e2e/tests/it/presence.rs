//! Presence of a thousand users in a hundred rooms, on two gateways, while a gateway and Redis are killed. What the chat service reports
//! is compared with the lists that the clients keep by themselves, from the events of their rooms.

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

const ROOMS: usize = 100;
const USERS: usize = 1000;
const SECRET: &str = "a secret that the test knows, of 32 characters and more";

type People = BTreeSet<String>;
/// The list of each client that is connected: its user, its room, who is there.
type Lists = Arc<Mutex<BTreeMap<String, (String, People)>>>;

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
async fn keep_list(base: String, token: SecretString, room: String, user: String, lists: Lists, turns: Arc<Semaphore>) {
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
                        Some(listed) => break listed,
                        None => tokio::time::sleep(Duration::from_millis(50)).await,
                    }
                };
                lists.lock().expect("no panic").insert(user.clone(), (room.clone(), listed));
            }
            Update::Event { frame, .. } => {
                let mut lists = lists.lock().expect("no panic");
                let Some((_, list)) = lists.get_mut(&user) else { continue };
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
    lists.lock().expect("no panic").remove(&user);
}

/// `None`: the server cannot say it now.
async fn present(person: &Person, room: &str) -> Option<People> {
    let answer = person.get(&format!("/api/rooms/{room}/users?limit=100")).await;
    let users = answer.json["users"].as_array()?;
    Some(users.iter().filter_map(|user| user["user_id"].as_str().map(str::to_owned)).collect())
}

/// Waits until the server and every client know exactly these users. Returns how long that took.
async fn all_agree(what: &str, admin: &Person, expected: &BTreeMap<String, People>, lists: &Lists) -> Duration {
    let began = Instant::now();
    let all: usize = expected.values().map(BTreeSet::len).sum();
    eventually(what, 15, || async {
        let stats: Value = admin.get("/api/rooms/stats").await.json;
        let total: u64 = stats["rooms"].as_object()?.values().filter_map(Value::as_u64).sum();
        let lists = lists.lock().expect("no panic");
        let agree = lists.len() == all && lists.values().all(|(room, list)| expected.get(room) == Some(list));
        (total == all as u64 && agree).then_some(())
    })
    .await;
    let took = began.elapsed();
    for (room, users) in expected {
        assert_eq!(present(admin, room).await.as_ref(), Some(users), "{what}: {room}");
    }
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_users_see_who_is_there_when_a_gateway_and_redis_are_killed() {
    let mut stack = Stack::start(2, &[("TURNPIKE_AUTH_SECRET", SECRET)]).await;
    let (admin, tokens, lists) = (stack.admin(0).await, Tokens::new(), Lists::default());
    let turns = Arc::new(Semaphore::new(16));
    let (mut rooms, mut tasks) = (Vec::new(), JoinSet::new());
    for n in 0..ROOMS {
        let made = admin.post("/api/rooms", json!({ "name": format!("Room {n}"), "visibility": "public" })).await;
        rooms.push(made.json["id"].as_str().unwrap_or_else(|| panic!("{}", made.text)).to_owned());
    }
    let mut expected: BTreeMap<String, People> = rooms.iter().map(|room| (room.clone(), People::new())).collect();
    let mut clients: Vec<(usize, String, String, AbortHandle)> = Vec::new();
    for n in 0..USERS {
        let user_id = UserId::from(Uuid::now_v7());
        let (user, room, gateway) = (user_id.to_string(), rooms[n / 10].clone(), n % 2);
        let base = stack.url(gateway).to_owned();
        let keeping = keep_list(base, tokens.sign(user_id), room.clone(), user.clone(), lists.clone(), turns.clone());
        clients.push((gateway, user.clone(), room.clone(), tasks.spawn(keeping)));
        expected.get_mut(&room).expect("a room").insert(user);
    }
    // A thousand handshakes on a busy machine take longer than presence itself.
    eventually("a thousand lists", 30, || async { (lists.lock().expect("no panic").len() == USERS).then_some(()) })
        .await;
    all_agree("everybody to be present", &admin, &expected, &lists).await;

    // A clean leave: within seconds.
    let leave = |clients: &mut Vec<(usize, String, String, AbortHandle)>,
                 expected: &mut BTreeMap<String, People>,
                 which: &dyn Fn(usize, usize) -> bool| {
        let mut n = 0;
        clients.retain(|(gateway, user, room, client)| {
            n += 1;
            let leaves = which(n, *gateway);
            if leaves {
                client.abort();
                expected.get_mut(room).expect("a room").remove(user);
                lists.lock().expect("no panic").remove(user);
            }
            !leaves
        });
    };
    leave(&mut clients, &mut expected, &|n, _| n % 10 == 3);
    all_agree("those who left to be gone", &admin, &expected, &lists).await;

    // kill -9 of a gateway: its users are gone 15 s later, and nobody else is.
    stack.gateways[1].kill();
    leave(&mut clients, &mut expected, &|_, gateway| gateway == 1);
    let took = all_agree("the users of the killed gateway to be gone", &admin, &expected, &lists).await;
    assert!(took < Duration::from_secs(15), "{took:?}");

    // Redis loses everything: nobody leaves, and who leaves afterwards is gone for everybody.
    stack.redis.restart().await;
    leave(&mut clients, &mut expected, &|n, _| n % 7 == 0);
    all_agree("the lists to be right after a restart of Redis", &admin, &expected, &lists).await;
    // The chat service, too.
    stack.chat.kill();
    stack.chat.start();
    stack.gateways[1].start();
    stack.wait_until_ready().await;
    leave(&mut clients, &mut expected, &|n, _| n % 7 == 0);
    all_agree("the lists to be right after a restart of chat", &admin, &expected, &lists).await;
}
