//! Every environment variable: its name, default, meaning and readers are declared here and nowhere else. Tests compare the
//! README's table, `deploy/example.env` and `docker-compose.yml` with this declaration.

use Binary::{Auth, Captions, Chat, Gateway, MockVehicleConnector, Turnpike, Vehicles};

/// One environment variable.
#[derive(Debug)]
pub struct Variable {
    /// The whole name.
    pub name: &'static str,
    /// The value in force when the variable is not set.
    pub default: Default,
    /// One cell of the README's table.
    pub meaning: &'static str,
    /// The binaries that use it.
    pub readers: &'static [Binary],
    /// Its value is never printed.
    pub secret: bool,
    /// It holds addresses that the deployment means to reach; `TURNPIKE_OFFLINE=1` permits connections to them.
    pub destination: bool,
}

/// The value in force when a variable is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// This value; empty where nothing is configured.
    Value(&'static str),
    /// No fixed value: the words say what happens.
    Described(&'static str),
}

/// A program that reads variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `turnpike-gateway`.
    Gateway,
    /// `turnpike-auth`.
    Auth,
    /// `turnpike-chat`.
    Chat,
    /// `turnpike-captions`.
    Captions,
    /// `turnpike-vehicles`.
    Vehicles,
    /// `turnpike-mock-vehicle-connector`.
    MockVehicleConnector,
    /// The one process with every service, and the command-line client.
    Turnpike,
}

impl Variable {
    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    const fn destination(mut self) -> Self {
        self.destination = true;
        self
    }

    const fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    const fn new(default: Default, readers: &'static [Binary], meaning: &'static str) -> Self {
        Self { name: "", default, meaning, readers, secret: false, destination: false }
    }
}

impl Default {
    /// The default as `turnpike config` shows it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Value(text) | Self::Described(text) => text,
        }
    }
}

const fn value(default: &'static str, readers: &'static [Binary], meaning: &'static str) -> Variable {
    Variable::new(Default::Value(default), readers, meaning)
}

const fn described(default: &'static str, readers: &'static [Binary], meaning: &'static str) -> Variable {
    Variable::new(Default::Described(default), readers, meaning)
}

macro_rules! declare {
    ($($name:ident = $variable:expr;)*) => {
        $(
            #[allow(missing_docs, reason = "the declaration says what it means")]
            pub static $name: Variable = $variable.named(concat!("TURNPIKE_", stringify!($name)));
        )*

        /// Every variable. Each binary accepts all of them, so that one environment file can serve a whole stack.
        pub static ALL: &[&Variable] = &[$(&$name),*];
    };
}

const EVERY: &[Binary] = &[Gateway, Auth, Chat, Vehicles, MockVehicleConnector, Captions, Turnpike];

const DATABASE: &str = "`sqlite:…` or `postgres:…`";
const GRPC: &str = "where the service listens; its private port is a thousand further up. In the one process a service \
                    listens only if its variable is set";
const URL: &str = "where the service's clients find it";
const CHAT: &[Binary] = &[Chat, Turnpike];
const CAPTIONS: &[Binary] = &[Captions, Turnpike];

declare! {
    HTTP = value("127.0.0.1:8080", &[Gateway, Turnpike],
        "public address of the gateway; port 0 is any. Its private port (health, metrics) is a thousand further up, or \
         any");
    DATA_DIR = value("./turnpike-data", &[Auth, Chat, Vehicles, Captions, Turnpike],
        "SQLite files, the generated secret, the speech model, transcripts and, in the one process, the one-time sign-in");
    ADMIN_EMAIL = value("admin@turnpike.local", &[Auth, Turnpike],
        "the first admin, created while there is none; username `admin`. The command-line client signs in as this account \
         if it keeps no session");
    ADMIN_PASSWORD = described("generated", &[Auth, Turnpike],
        "the first admin's password; a generated one is shown once. The command-line client signs in with it if it keeps \
         no session").secret();
    AUTH_SECRET = described("generated in the data directory", &[Auth, Turnpike],
        "at least 32 characters; all keys are derived from it. Several instances of auth need the same").secret();
    REDIS_URL = value("", EVERY,
        "`redis://…`. Unset, events stay in the process, which only the one process accepts").secret().destination();
    AUTH_DATABASE_URL = described("SQLite in the data directory", &[Auth, Turnpike], DATABASE).secret().destination();
    CHAT_DATABASE_URL = described("SQLite in the data directory", CHAT, DATABASE).secret().destination();
    VEHICLES_DATABASE_URL = described("SQLite in the data directory", &[Vehicles, Turnpike], DATABASE).secret().destination();
    AUTH_GRPC = value("127.0.0.1:50051", &[Auth, Turnpike], GRPC);
    CHAT_GRPC = value("127.0.0.1:50052", CHAT, GRPC);
    VEHICLES_GRPC = value("127.0.0.1:50053", &[Vehicles, Turnpike], GRPC);
    MOCK_VEHICLE_CONNECTOR_GRPC = value("127.0.0.1:50054", &[MockVehicleConnector, Turnpike], GRPC);
    CAPTIONS_GRPC = value("127.0.0.1:50055", CAPTIONS, GRPC);
    AUTH_URL = value("http://127.0.0.1:50051", &[Gateway, Chat, Vehicles, Captions], URL).destination();
    CHAT_URL = value("http://127.0.0.1:50052", &[Gateway, Captions], URL).destination();
    VEHICLES_URL = value("http://127.0.0.1:50053", &[Gateway], URL).destination();
    CAPTIONS_URL = value("http://127.0.0.1:50055", &[Gateway], URL).destination();
    CONNECTORS = value("mock=http://127.0.0.1:50054", &[Vehicles, Turnpike],
        "connectors of vehicles, comma-separated. The one process adds the mock inside it unless a connector is named \
         `mock`").destination();
    LLM_URL = value("", CHAT,
        "base URL, with its `/v1`, of an OpenAI-compatible server (TabbyAPI, llama.cpp, vLLM, Ollama, LiteLLM); several, \
         comma-separated, are tried in this order. Unset, the built-in scripted model answers").destination();
    LLM_API_KEY = value("", CHAT,
        "sent to the servers of `TURNPIKE_LLM_URL`: one for all, or one for each, comma-separated").secret();
    LLM_MODEL = value("", CHAT,
        "the model of requests that name none; unset, the first one that a server lists");
    LLM_CONTEXT_TOKENS = value("8192", CHAT,
        "how much of a conversation a prompt may hold, in tokens, with the answer; older messages are left out");
    LLM_TITLES = value("rule", CHAT,
        "`rule`: a conversation's title is the beginning of its first message; `model`: the model then suggests a better one");
    CA_FILE = value("", &[Chat, Captions, Turnpike],
        "a file of certificates (PEM) that https clients trust besides the public authorities, for model servers with a \
         certificate of your own authority");
    LLM_CONNECT_SECONDS = value("5", CHAT, "bound for connecting to a server");
    LLM_FIRST_TOKEN_SECONDS = value("120", CHAT, "bound from a request to the first piece of its answer");
    LLM_NEXT_TOKEN_SECONDS = value("60", CHAT, "bound between two pieces of a streamed answer");
    LLM_TOTAL_SECONDS = value("900", CHAT, "bound for a whole answer");
    LLM_SCRIPTED_DELAY_MS = value("20", CHAT, "pause of the built-in scripted model between two pieces");
    CAPTIONS_MODEL = described("models/moonshine-tiny-en in the data directory", CAPTIONS,
        "folder of the speech model, which `scripts/captions-model` fetches");
    CAPTIONS_REMOTE_URL = value("", CAPTIONS,
        "base URL, with its `/v1`, of a server with OpenAI's `/v1/audio/transcriptions`: the speech engine `remote`, the \
         default one without a model").destination();
    CAPTIONS_REMOTE_API_KEY = value("", CAPTIONS, "sent to the server of `TURNPIKE_CAPTIONS_REMOTE_URL`").secret();
    CAPTIONS_REMOTE_MODEL = value("whisper-1", CAPTIONS, "the model of that server");
    CAPTIONS_SESSIONS = described("3 for each core", CAPTIONS,
        "caption sessions that run at the same time; more are refused with 503");
    CAPTIONS_IDLE_SECONDS = value("120", CAPTIONS, "a caption session without audio for this long ends");
    CAPTIONS_RETENTION_HOURS = value("72", CAPTIONS,
        "how long the transcript of an ended session is kept; 0 keeps it as long as there is room");
    CAPTIONS_RETENTION_MB = value("1000", CAPTIONS,
        "megabytes of all transcripts; the oldest ones of ended sessions are removed first");
    OFFLINE = value("0", EVERY, "`1`: no outbound connection but loopback and the addresses configured here");
    LIMIT_ANSWERS_PER_USER = value("4", CHAT,
        "answers of one user that models generate at the same time, over all instances of chat; 0 means no limit");
    LIMIT_TOKENS_PER_DAY = value("0", CHAT,
        "tokens of one user in a day (UTC), prompts and answers; 0 means no limit");
    LIMIT_TOKENS_PER_MONTH = value("0", CHAT, "tokens of one user in a month (UTC); 0 means no limit");
    TRUSTED_PROXIES = value("", &[Gateway, Turnpike],
        "addresses or networks whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed");
    ALLOWED_ORIGINS = value("", &[Gateway, Turnpike],
        "origins whose pages may use the session cookie, besides the gateway's own");
    LIMIT_SOCKETS_PER_USER = value("8", &[Gateway, Turnpike],
        "open sockets of one user on each gateway; 0 means no limit");
    LIMIT_MESSAGES_PER_MINUTE = value("60", &[Gateway, Turnpike],
        "WebSocket messages of one user on each gateway; 0 means no limit");
    LIMIT_FRAME_BYTES = value("65536", &[Gateway, Turnpike], "bytes of one WebSocket frame; 0 means 1048576, the most");
    LIMIT_CONNECTIONS_PER_ADDRESS = described("512, loopback unlimited", &[Gateway, Turnpike],
        "open connections of one client address (an IPv6 /64); trusted proxies have no limit. A set value holds for \
         loopback, too; 0 means no limit");
    LIMIT_LOGINS_PER_MINUTE = value("5", &[Auth, Turnpike],
        "wrong passwords for one account from one address; ten times as many from one address and for one account. Shared \
         by all instances of auth; a restart keeps the counters; 0 means no limit");
    LIMIT_COMMANDS_PER_MINUTE = value("60", &[Vehicles, Turnpike],
        "accepted commands of one user. Shared by all instances of vehicles; a restart keeps the counters; 0 means no \
         limit");
    DRAIN_SECONDS = value("5", &[Gateway, Turnpike], "a stopping gateway closes its sockets over this time");
    HEARTBEAT_SECONDS = value("30", &[Gateway, Turnpike], "a socket is dead after 2.5 times that without a frame");
    TOPIC_RETENTION_SECONDS = value("86400", EVERY, "how far back a topic can be resumed");
    TOPIC_ENDED_RETENTION_SECONDS = value("3600", EVERY,
        "how long a topic is kept after its final event, at most as long as `TURNPIKE_TOPIC_RETENTION_SECONDS`; a \
         command's events can be read from the database afterwards");
    TOPIC_MAX_EVENTS = value("10000", EVERY, "how many events of a topic can be resumed");
    COMMAND_RETENTION_DAYS = value("90", &[Vehicles, Turnpike],
        "how long an ended command and its events stay in the database; 0 keeps them for ever. A change takes effect at \
         the next start");
    TOPIC_MEMORY_BYTES = value("268435456", EVERY,
        "without Redis: bytes of all topics in the process. When they are used up, the oldest ended topics are removed; \
         when none is left, new events are refused");
    MOCK_SEED = value("1", &[MockVehicleConnector, Turnpike], "the simulator's seed: same seed, same vehicles");
    MOCK_VEHICLES = value("3", &[MockVehicleConnector, Turnpike], "number of simulated vehicles");
    MOCK_DELAY_MS = value("400", &[MockVehicleConnector, Turnpike],
        "mean time between the pieces of a simulated response, in milliseconds");
    LOG = value("info", EVERY, "filter of the log on standard error, e.g. `turnpike_bus=debug,info`");
    LOG_FORMAT = described("pretty on a terminal, else json", EVERY, "`pretty` or `json`");
}

/// The variable of this name.
pub fn find(name: &str) -> Option<&'static Variable> {
    ALL.iter().copied().find(|variable| variable.name == name)
}
