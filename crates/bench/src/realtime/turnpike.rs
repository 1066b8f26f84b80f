//! Turnpike as one of the servers, and what is measured of Turnpike alone.

use turnpike_bus::{Bus, Limits};
use turnpike_testkit::{Person, RedisServer, SingleProcess, Stack, eventually};
use turnpike_topic::{Topic, VehicleId};

use super::{
    BOTH, Compare, GENERATOR, SERVER,
    client::Protocol,
    groups, line,
    load::{self, Load},
    peers::Server,
    publisher::Way,
    table::Row,
};
use crate::child::run_on;

/// Topics for groups of ten.
const TOPICS: usize = 100;

struct Running {
    server: Server,
    _process: SingleProcess,
    _redis: RedisServer,
}

/// The one process with Redis as its bus, on these cores.
async fn start(cores: &str) -> Running {
    run_on(GENERATOR);
    let redis = RedisServer::start(false).await;
    run_on(cores);
    let variables = [
        ("TURNPIKE_LOG", "warn"),
        ("TURNPIKE_REDIS_URL", &redis.url()),
        ("TURNPIKE_MOCK_VEHICLES", &TOPICS.to_string()),
    ];
    let process = SingleProcess::start(&variables).await;
    run_on(GENERATOR);
    let admin = process.admin().await;
    let topics = topics(&admin).await;
    let way = over_redis(&redis, &topics);
    let server = server(&admin, topics, way, &[process.url()], vec![process.process.id()]);
    Running { server, _process: process, _redis: redis }
}

/// The topics of the simulated vehicles, as soon as all are registered.
async fn topics(admin: &Person) -> Vec<Topic> {
    eventually("the vehicles", 60, || async {
        let list = admin.get("/api/vehicles?status=connected&limit=100").await.json;
        let ids = list.as_array()?.iter().filter_map(|vehicle| vehicle["id"].as_str()?.parse::<VehicleId>().ok());
        let topics: Vec<_> = ids.map(Topic::Vehicle).collect();
        (topics.len() == TOPICS).then_some(topics)
    })
    .await
}

/// Payloads are published on the bus of this Redis.
fn over_redis(redis: &RedisServer, topics: &[Topic]) -> Way {
    Way::Bus(Bus::redis(&redis.url(), Limits::default()).expect("the URL is valid"), topics.to_vec())
}

fn server(admin: &Person, topics: Vec<Topic>, publish: Way, urls: &[&str], pids: Vec<u32>) -> Server {
    let names = topics.iter().map(Topic::to_string).collect();
    Server {
        addresses: urls.iter().map(|url| url.trim_start_matches("http://").to_owned()).collect(),
        protocol: Protocol::Turnpike { token: admin.token.clone(), topics: names },
        publish,
        pids,
        _process: None,
    }
}

/// The rows of the table: with Redis, and with events in the memory of the process.
pub(crate) async fn measure(options: &Compare) -> [Row; 2] {
    super::eprint_progress("turnpike");
    let running = start(SERVER).await;
    let redis = super::measure("turnpike", &running.server, options).await;
    drop(running);
    super::eprint_progress("turnpike, events in memory");
    let (_process, server) = start_in_memory().await;
    [redis, super::measure("turnpike, events in memory", &server, options).await]
}

/// The one process with its events in memory. The example `publisher` lets the load generator publish them.
async fn start_in_memory() -> (SingleProcess, Server) {
    run_on(SERVER);
    let variables = [("TURNPIKE_LOG", "warn"), ("TURNPIKE_MOCK_VEHICLES", &TOPICS.to_string())];
    let process = SingleProcess::start_program("examples/publisher", &variables).await;
    run_on(GENERATOR);
    let log = process.process.log();
    let address = log.split("Publishes the lines of ").nth(1).and_then(|rest| rest.split_whitespace().next());
    let address = address.expect("the example prints its address").to_owned();
    let admin = process.admin().await;
    let topics = topics(&admin).await;
    let way = Way::Topics(address, topics.clone());
    let server = server(&admin, topics, way, &[process.url()], vec![process.process.id()]);
    (process, server)
}

/// Readers that stall, two cores, and two gateways.
pub(crate) async fn more(options: &Compare) {
    let one = Load { sockets: options.sockets, topics: 1, rate: Some(20), seconds: options.seconds, stalled: 0 };
    let running = start(SERVER).await;
    // The same number of sockets that read, with and without a tenth that does not.
    let reading = load::run(&running.server, Load { sockets: options.sockets * 9 / 10, ..one }).await;
    let stalled = load::run(&running.server, Load { stalled: options.sockets / 10, ..one }).await;
    println!("{}", line("turnpike, 20/s, nine tenths of the sockets", &reading));
    println!("{}", line("turnpike, 20/s, the others stalled", &stalled));
    drop(running);
    let running = start(BOTH).await;
    let both = load::run(&running.server, Load { rate: None, ..one }).await;
    println!("{}", line("turnpike, saturated, server on both cores", &both));
    drop(running);
    run_on(GENERATOR);
    let redis = RedisServer::start(false).await;
    run_on(SERVER);
    let variables = [("TURNPIKE_LOG", "warn"), ("TURNPIKE_MOCK_VEHICLES", &TOPICS.to_string())];
    let stack = Stack::start_on(redis, 2, &variables).await;
    run_on(GENERATOR);
    let pids = stack.gateways.iter().map(turnpike_testkit::ServiceProcess::id).collect();
    let admin = stack.admin(0).await;
    let topics = topics(&admin).await;
    let way = over_redis(&stack.redis, &topics);
    let server = server(&admin, topics, way, &[stack.url(0), stack.url(1)], pids);
    println!("{}", line("turnpike, groups of ten, two gateways", &load::run(&server, groups(options)).await));
}
