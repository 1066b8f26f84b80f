//! Turnpike as one of the servers, and what is measured of Turnpike alone.

use std::any::Any;

use turnpike_bus::{Bus, Limits};
use turnpike_testkit::{Person, RedisServer, SingleProcess, Stack, eventually};
use turnpike_topic::{Topic, VehicleId};

use super::{
    BOTH, Compare, GENERATOR, SERVER,
    client::Protocol,
    groups, line,
    load::{self, Load},
    one_topic,
    peers::Server,
    publisher::Way,
};
use crate::child::run_on;

/// Topics for groups of ten.
const TOPICS: usize = 100;

/// The one process with Redis as its bus, on these cores.
pub(crate) async fn start(cores: &str) -> Server {
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
    let (urls, pids) = ([process.url().to_owned()], vec![process.process.id()]);
    server(&admin, topics, way, &urls, pids, Box::new((process, redis)))
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

fn server(
    admin: &Person,
    topics: Vec<Topic>,
    publish: Way,
    urls: &[String],
    pids: Vec<u32>,
    processes: Box<dyn Any>,
) -> Server {
    let names = topics.iter().map(Topic::to_string).collect();
    Server {
        addresses: urls.iter().map(|url| url.trim_start_matches("http://").to_owned()).collect(),
        protocol: Protocol::Turnpike { token: admin.token.clone(), topics: names },
        publish,
        pids,
        _processes: processes,
    }
}

/// The one process with its events in memory. The example `publisher` lets the load generator publish them.
pub(crate) async fn start_in_memory() -> Server {
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
    let (urls, pids) = ([process.url().to_owned()], vec![process.process.id()]);
    server(&admin, topics, way, &urls, pids, Box::new(process))
}

/// Readers that stall, two cores, and two gateways.
pub(crate) async fn more(options: &Compare) {
    let one = one_topic(options);
    let running = start(SERVER).await;
    // The same number of sockets that read, with and without a tenth that does not.
    let reading = load::run(&running, Load { sockets: options.sockets * 9 / 10, ..one }).await;
    let stalled = load::run(&running, Load { stalled: options.sockets / 10, ..one }).await;
    println!("{}", line("turnpike, 20/s, nine tenths of the sockets", &reading));
    println!("{}", line("turnpike, 20/s, the others stalled", &stalled));
    drop(running);
    let running = start(BOTH).await;
    let both = load::run(&running, Load { rate: None, ..one }).await;
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
    let urls = [0, 1].map(|gateway| stack.url(gateway).to_owned());
    let server = server(&admin, topics, way, &urls, pids, Box::new(stack));
    println!("{}", line("turnpike, groups of ten, two gateways", &load::run(&server, groups(options)).await));
}
