//! The running product: as separate processes, or as one process.

use std::collections::BTreeMap;

use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use turnpike_proto::vehicle::v1::mock_vehicle_control_client::MockVehicleControlClient;

use crate::{ADMIN_PASSWORD, Host, Person, RedisServer, ServiceProcess, eventually};

/// Every service as a separate process, with a private Redis, on a private loopback address.
pub struct Stack {
    pub redis: RedisServer,
    pub auth: ServiceProcess,
    pub chat: ServiceProcess,
    pub captions: ServiceProcess,
    pub vehicles: ServiceProcess,
    pub mock: ServiceProcess,
    pub gateways: Vec<ServiceProcess>,
    urls: Vec<String>,
    private_urls: Vec<String>,
    mock_url: String,
    fleet: usize,
    _host: Host,
    _directory: TempDir,
}

impl Stack {
    /// Starts every process with these variables and waits until all are ready. Limits are off unless a variable sets them.
    pub async fn start(gateways: usize, variables: &[(&str, &str)]) -> Self {
        Self::start_on(RedisServer::start(false).await, gateways, variables).await
    }

    /// Like [`Stack::start`], with a Redis that runs already.
    pub async fn start_on(redis: RedisServer, gateways: usize, variables: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().expect("a temporary directory is created");
        let mut shared: BTreeMap<String, String> = BTreeMap::new();
        let mut set = |name: &str, value: String| shared.insert(name.to_owned(), value);
        let host = Host::claim();
        let mut private_urls = Vec::new();
        let mut address = || {
            let address = host.address(private_urls.len() as u16);
            private_urls.push(format!("http://{}:{}", address.ip(), address.port() + 1000));
            address.to_string()
        };
        let (auth, chat, captions) = (address(), address(), address());
        let (vehicles, mock) = (address(), address());
        set("TURNPIKE_REDIS_URL", redis.url());
        set("TURNPIKE_AUTH_GRPC", auth.clone());
        set("TURNPIKE_CHAT_GRPC", chat.clone());
        set("TURNPIKE_CAPTIONS_GRPC", captions.clone());
        set("TURNPIKE_VEHICLES_GRPC", vehicles.clone());
        set("TURNPIKE_MOCK_VEHICLE_CONNECTOR_GRPC", mock.clone());
        set("TURNPIKE_AUTH_URL", format!("http://{auth}"));
        set("TURNPIKE_CHAT_URL", format!("http://{chat}"));
        set("TURNPIKE_CAPTIONS_URL", format!("http://{captions}"));
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
            std::fs::create_dir_all(&folder).expect("a temporary directory is created");
            let mut running =
                ServiceProcess::new(name, program, shared.clone().into_iter().chain(own).collect(), &folder);
            running.start();
            running
        };
        let auth = start("auth", "turnpike-auth", &[]);
        let chat = start("chat", "turnpike-chat", &[]);
        let captions = start("captions", "turnpike-captions", &[]);
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
            chat,
            captions,
            vehicles,
            mock,
            gateways: running,
            urls,
            private_urls,
            mock_url,
            fleet,
            _host: host,
            _directory: directory,
        };
        stack.wait_until_ready().await;
        stack
    }

    /// Waits until every process reports that it is ready and every simulated vehicle is connected.
    pub async fn wait_until_ready(&self) {
        for url in &self.private_urls {
            wait_ready(url).await;
        }
        let admin = self.admin(0).await;
        eventually("vehicles in the registry", 20, || async {
            let vehicles = admin.get("/api/vehicles?status=connected&limit=100").await.json;
            (vehicles.as_array()?.len() >= self.fleet).then_some(())
        })
        .await;
    }

    /// The public URL of a gateway.
    pub fn url(&self, gateway: usize) -> &str {
        &self.urls[gateway]
    }

    /// Signs the first admin in at a gateway.
    pub async fn admin(&self, gateway: usize) -> Person {
        Person::sign_in(self.url(gateway), "admin", ADMIN_PASSWORD).await
    }

    /// The control API of the simulated vehicles.
    pub fn mock_control(&self) -> MockVehicleControlClient<Channel> {
        let endpoint = Endpoint::from_shared(self.mock_url.clone()).expect("the URL is valid");
        MockVehicleControlClient::new(endpoint.connect_lazy())
    }
}

/// Every service in one process: the `turnpike` binary.
pub struct SingleProcess {
    pub process: ServiceProcess,
    url: String,
    mock_url: String,
    _host: Host,
    _directory: TempDir,
}

impl SingleProcess {
    /// Starts the process with these variables and waits until it prints that it is ready. Limits are off unless a variable sets
    /// them.
    pub async fn start(variables: &[(&str, &str)]) -> Self {
        Self::start_program("turnpike", variables).await
    }

    /// The same with another program that starts all services and prints the same line.
    pub async fn start_program(program: &str, variables: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().expect("a temporary directory is created");
        let host = Host::claim();
        let mock = host.address(0).to_string();
        let mut shared: BTreeMap<String, String> =
            defaults().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        shared.insert("TURNPIKE_HTTP".to_owned(), "127.0.0.1:0".to_owned());
        shared.insert("TURNPIKE_MOCK_VEHICLE_CONNECTOR_GRPC".to_owned(), mock.clone());
        shared.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let mut process = ServiceProcess::new("turnpike", program, shared, directory.path());
        process.start();
        let url = eventually("turnpike to be ready", 30, || {
            assert!(process.exit_status().is_none(), "turnpike has exited:\n{}", process.log());
            let log = process.log();
            let url = log.split("Turnpike is ready: ").nth(1).and_then(|rest| rest.split_whitespace().next());
            let url = url.map(str::to_owned);
            async move { url }
        })
        .await;
        Self { process, url, mock_url: format!("http://{mock}"), _host: host, _directory: directory }
    }

    /// The public URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Signs the first admin in.
    pub async fn admin(&self) -> Person {
        Person::sign_in(self.url(), "admin", ADMIN_PASSWORD).await
    }

    /// The control API of the simulated vehicles.
    pub fn mock_control(&self) -> MockVehicleControlClient<Channel> {
        let endpoint = Endpoint::from_shared(self.mock_url.clone()).expect("the URL is valid");
        MockVehicleControlClient::new(endpoint.connect_lazy())
    }
}

/// A known password, vehicles and a scripted model without delay, and no limits. Tests of a limit set it.
fn defaults() -> [(&'static str, &'static str); 9] {
    [
        ("TURNPIKE_ADMIN_PASSWORD", ADMIN_PASSWORD),
        ("TURNPIKE_MOCK_DELAY_MS", "0"),
        ("TURNPIKE_LLM_SCRIPTED_DELAY_MS", "0"),
        ("TURNPIKE_LIMIT_ANSWERS_PER_USER", "0"),
        ("TURNPIKE_LIMIT_LOGINS_PER_MINUTE", "0"),
        ("TURNPIKE_LIMIT_COMMANDS_PER_MINUTE", "0"),
        ("TURNPIKE_LIMIT_MESSAGES_PER_MINUTE", "0"),
        ("TURNPIKE_LIMIT_SOCKETS_PER_USER", "0"),
        ("TURNPIKE_LOG", "info"),
    ]
}

async fn wait_ready(private_url: &str) {
    let url = format!("{private_url}/health/ready");
    eventually(&url, 30, || async {
        let answer = reqwest::get(&url).await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
}
