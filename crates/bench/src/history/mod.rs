//! Clients that are cut, stall and resume while gateways are killed and paused. Every client logs what it gets, the publishers log what
//! was accepted, and an offline check compares the logs (`check.rs`). The same seed leads to the same decisions.

mod check;
mod client;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use tokio::task::JoinSet;
use turnpike_bus::{Bus, Limits};
use turnpike_event::{Body, CommandEvent, Event, Json};
use turnpike_testkit::Stack;
use turnpike_topic::{CommandId, Topic, VehicleId};
use uuid::Uuid;

use self::{
    check::{Hash, Position, Published},
    client::Client,
};

#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) clients: usize,
    pub(crate) topics: usize,
    /// Events a second in all.
    pub(crate) rate: u64,
    pub(crate) seconds: u64,
}

/// A number below `bound`.
fn below(rng: &mut ChaCha8Rng, bound: u64) -> u64 {
    rng.next_u64() % bound
}

/// How long the clients may take to get everything after the last event.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// Panics if an event is lost, repeated or reordered without a reset that reports it.
pub(crate) async fn run(plan: Plan) {
    let fleet = plan.topics.to_string();
    let variables = [("TURNPIKE_LIMIT_SOCKETS_PER_USER", "0"), ("TURNPIKE_MOCK_VEHICLES", &fleet)];
    let mut stack = Stack::start(2, &variables).await;
    let admin = stack.admin(0).await;
    let vehicles: Vec<VehicleId> =
        admin.vehicles().await.iter().filter_map(|vehicle| vehicle["id"].as_str()?.parse().ok()).collect();
    let topics: Arc<[Topic]> = vehicles.into_iter().map(Topic::Vehicle).collect();
    let bus = Bus::redis(&stack.redis.url(), Limits::default()).expect("the URL is valid");
    // A vehicle publishes when it is connected. Only what follows is compared.
    let mut starts = Vec::new();
    for topic in topics.iter() {
        starts.push(publish(&bus, *topic, 0).await);
    }
    let heads: Arc<[Mutex<Position>]> = starts.iter().map(|start| Mutex::new(*start)).collect();
    let (stopped, reconnects) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let urls: Arc<[String]> = (0..2).map(|gateway| stack.url(gateway).to_owned()).collect();
    let mut clients = JoinSet::new();
    for number in 0..plan.clients {
        let rng = ChaCha8Rng::seed_from_u64(plan.seed.wrapping_mul(1000) + number as u64);
        let (topics, urls, admin) = (topics.clone(), urls.clone(), admin.clone());
        let client = Client::new(rng, topics, urls, admin, starts.clone());
        clients.spawn(client.run(heads.clone(), stopped.clone(), reconnects.clone()));
    }
    let mut publishers = JoinSet::new();
    for (number, topic) in topics.iter().enumerate() {
        let (bus, topic, heads) = (bus.clone(), *topic, heads.clone());
        let mut rng = ChaCha8Rng::seed_from_u64(plan.seed ^ (1 << 40) ^ number as u64);
        let pause = Duration::from_micros(1_000_000 * plan.topics as u64 / plan.rate);
        publishers.spawn(async move {
            let (started, mut events, mut count) = (Instant::now(), BTreeMap::<Position, Hash>::new(), 0);
            while started.elapsed() < Duration::from_secs(plan.seconds) {
                tokio::time::sleep_until((started + pause * count).into()).await;
                count += 1;
                let hash = rng.next_u64() | 1;
                let at = publish(&bus, topic, hash).await;
                events.insert(at, hash);
                *heads[number].lock() = at;
            }
            (number, events)
        });
    }
    let chaos = disturb(&mut stack, plan).await;
    let published: Published = publishers.join_all().await.into_iter().collect();
    stopped.store(true, Ordering::SeqCst);
    let logs = tokio::time::timeout(END_TIMEOUT, clients.join_all()).await;
    let logs = logs.unwrap_or_else(|_| panic!("seed {}: a client does not get to the end of its topics", plan.seed));
    let events: usize = published.values().map(BTreeMap::len).sum();
    match check::check(&published, &logs) {
        Ok(summary) => println!(
            "history: seed {}: {events} events, {} clients, {} deliveries, {} reconnects, {chaos}: every event exactly once and in \
             order, {} resets",
            plan.seed,
            plan.clients,
            summary.deliveries,
            reconnects.load(Ordering::Relaxed),
            summary.resets
        ),
        Err(violation) => panic!("seed {}: {violation}", plan.seed),
    }
}

/// Kills, starts, pauses and resumes gateways until the publishers are about to end. Returns how often.
async fn disturb(stack: &mut Stack, plan: Plan) -> String {
    let mut rng = ChaCha8Rng::seed_from_u64(plan.seed ^ (1 << 41));
    let end = Instant::now() + Duration::from_secs(plan.seconds);
    let (mut kills, mut pauses) = (0, 0);
    loop {
        tokio::time::sleep(Duration::from_millis(500 + below(&mut rng, 2500))).await;
        if Instant::now() >= end {
            return format!("{kills} kills, {pauses} pauses");
        }
        let gateway = usize::try_from(below(&mut rng, 2)).unwrap_or_default();
        let pause = Duration::from_millis(below(&mut rng, 2000));
        if below(&mut rng, 2) == 0 {
            kills += 1;
            stack.gateways[gateway].kill();
            tokio::time::sleep(pause).await;
            stack.gateways[gateway].start();
        } else {
            pauses += 1;
            stack.gateways[gateway].signal("STOP");
            tokio::time::sleep(pause).await;
            stack.gateways[gateway].signal("CONT");
        }
    }
}

/// Publishes an event whose content is this number.
async fn publish(bus: &Bus, topic: Topic, hash: Hash) -> Position {
    let response = Json::parse(format!(r#"{{"hash":"{hash}"}}"#)).expect("JSON");
    let body = Body::Command(CommandEvent::Response {
        command_id: CommandId::from(Uuid::nil()),
        sequence_number: 1,
        is_final: false,
        response,
    });
    let event = Event { at: jiff::Timestamp::now(), body };
    let offset = bus.publish(&topic, &event.to_bytes()).await.expect("Redis accepts the event");
    (offset.epoch, offset.n)
}
