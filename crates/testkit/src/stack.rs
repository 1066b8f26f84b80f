//! The product, running: as separate processes, or as one.

use std::collections::BTreeMap;

use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use turnpike_proto::vehicle::v1::mock_vehicle_control_client::MockVehicleControlClient;

use crate::{Host, Person, RedisServer, Running, eventually};

/// Of the first admin.
pub const ADMIN_PASSWORD: &str = "a long enough pass phrase";

/// Every service as a process of its own, with a Redis of its own, on an address of its own.
pub struct Stack {
    /// The Redis between them.
    pub redis: RedisServer,
    /// `turnpike-auth`.
    pub auth: Running,
    /// `turnpike-vehicles`.
    pub vehicles: Running,
    /// `turnpike-mock-vehicle-connector`.
    pub mock: Running,
    /// `turnpike-gateway`, as many as were asked for.
    pub gateways: Vec<Running>,
    urls: Vec<String>,
    ready: Vec<String>,
    mock_url: String,
    fleet: usize,
    _host: Host,
    _directory: TempDir,
}

impl Stack {
    /// Starts all of it with these variables besides the addresses, and waits until it is ready. Limits are off unless set.
    pub async fn start(gateways: usize, variables: &[(&str, &str)]) -> Self {
        Self::start_on(RedisServer::start(false).await, gateways, variables).await
    }

    /// As [`Stack::start`], on a Redis that runs already.
    pub async fn start_on(redis: RedisServer, gateways: usize, variables: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().expect("a directory");
        let mut shared: BTreeMap<String, String> = BTreeMap::new();
        let mut set = |name: &str, value: String| shared.insert(name.to_owned(), value);
        let host = Host::claim();
        let mut private = Vec::new();
        let mut address = || {
            let address = host.address(private.len() as u16);
            private.push(format!("http://{}:{}", address.ip(), address.port() + 1000));
            address.to_string()
        };
        let (auth, vehicles, mock) = (address(), address(), address());
        set("TURNPIKE_REDIS_URL", redis.url());
        set("TURNPIKE_AUTH_GRPC", auth.clone());
        set("TURNPIKE_VEHICLES_GRPC", vehicles.clone());
        set("TURNPIKE_MOCK_VEHICLE_CONNECTOR_GRPC", mock.clone());
        set("TURNPIKE_AUTH_URL", format!("http://{auth}"));
        set("TURNPIKE_VEHICLES_URL", format!("http://{vehicles}"));
        set("TURNPIKE_CONNECTORS", format!("mock=http://{mock}"));
        for (name, value) in defaults() {
            set(name, value.to_owned());
        }
        for (name, value) in variables {
            set(name, (*value).to_owned());
        }
        let start = |name: &str, program: &str, more: &[(&str, String)]| {
            let own = more.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
            let folder = directory.path().join(name);
            std::fs::create_dir_all(&folder).expect("a directory");
            let mut running = Running::new(name, program, shared.clone().into_iter().chain(own).collect(), &folder);
            running.start();
            running
        };
        let auth = start("auth", "turnpike-auth", &[]);
        let vehicles = start("vehicles", "turnpike-vehicles", &[]);
        let mock = start("mock", "turnpike-mock-vehicle-connector", &[]);
        let mut urls = Vec::new();
        let running: Vec<_> = (0..gateways)
            .map(|n| {
                let address = address();
                urls.push(format!("http://{address}"));
                start(&format!("gateway-{n}"), "turnpike-gateway", &[("TURNPIKE_HTTP", address)])
            })
            .collect();
        let fleet = shared.get("TURNPIKE_MOCK_VEHICLES").map_or(3, |count| count.parse().expect("a number"));
        let mock_url = format!("http://{}", shared["TURNPIKE_MOCK_VEHICLE_CONNECTOR_GRPC"]);
        let stack = Self {
            redis,
            auth,
            vehicles,
            mock,
            gateways: running,
            urls,
            ready: private,
            mock_url,
            fleet,
            _host: host,
            _directory: directory,
        };
        stack.ready().await;
        stack
    }

    /// Waits until every process says that it is ready, and the fleet is known.
    pub async fn ready(&self) {
        for url in &self.ready {
            wait_ready(url).await;
        }
        let admin = self.admin(0).await;
        eventually("vehicles in the registry", 20, || async {
            let vehicles = admin.get("/api/vehicles?status=connected&limit=100").await.json;
            (vehicles.as_array()?.len() >= self.fleet).then_some(())
        })
        .await;
    }

    /// The public address of a gateway.
    pub fn url(&self, gateway: usize) -> &str {
        &self.urls[gateway]
    }

    /// The first admin, signed in at a gateway.
    pub async fn admin(&self, gateway: usize) -> Person {
        Person::sign_in(self.url(gateway), "admin", ADMIN_PASSWORD).await
    }

    /// The levers of the mock.
    pub fn mock_control(&self) -> MockVehicleControlClient<Channel> {
        let endpoint = Endpoint::from_shared(self.mock_url.clone()).expect("a URL");
        MockVehicleControlClient::new(endpoint.connect_lazy())
    }
}

/// Everything in one process: `turnpike`.
pub struct One {
    /// The process.
    pub process: Running,
    url: String,
    mock_url: String,
    _host: Host,
    _directory: TempDir,
}

impl One {
    /// Starts it with these variables and waits until it says that it is ready.
    pub async fn start(variables: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().expect("a directory");
        let host = Host::claim();
        let mock = host.address(0).to_string();
        let mut shared: BTreeMap<String, String> =
            defaults().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        shared.insert("TURNPIKE_HTTP".to_owned(), "127.0.0.1:0".to_owned());
        shared.insert("TURNPIKE_MOCK_VEHICLE_CONNECTOR_GRPC".to_owned(), mock.clone());
        shared.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let mut process = Running::new("turnpike", "turnpike", shared, directory.path());
        process.start();
        let url = eventually("the one process to be ready", 30, || {
            assert!(process.ended().is_none(), "it ended:\n{}", process.log());
            let log = process.log();
            let said = log.split("Turnpike is ready: ").nth(1).and_then(|rest| rest.split_whitespace().next());
            let said = said.map(str::to_owned);
            async move { said }
        })
        .await;
        Self { process, url, mock_url: format!("http://{mock}"), _host: host, _directory: directory }
    }

    /// Its public address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The first admin, signed in.
    pub async fn admin(&self) -> Person {
        Person::sign_in(self.url(), "admin", ADMIN_PASSWORD).await
    }

    /// The levers of the mock.
    pub fn mock_control(&self) -> MockVehicleControlClient<Channel> {
        let endpoint = Endpoint::from_shared(self.mock_url.clone()).expect("a URL");
        MockVehicleControlClient::new(endpoint.connect_lazy())
    }
}

/// A known password, a quick vehicle, and no limits, which have tests of their own.
fn defaults() -> [(&'static str, &'static str); 7] {
    [
        ("TURNPIKE_ADMIN_PASSWORD", ADMIN_PASSWORD),
        ("TURNPIKE_MOCK_DELAY_MS", "0"),
        ("TURNPIKE_LIMIT_LOGINS_PER_MINUTE", "0"),
        ("TURNPIKE_LIMIT_COMMANDS_PER_MINUTE", "0"),
        ("TURNPIKE_LIMIT_MESSAGES_PER_MINUTE", "0"),
        ("TURNPIKE_LIMIT_SOCKETS_PER_USER", "0"),
        ("TURNPIKE_LOG", "info"),
    ]
}

async fn wait_ready(private: &str) {
    let url = format!("{private}/health/ready");
    eventually(&url, 30, || async {
        let answer = reqwest::get(&url).await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
}
