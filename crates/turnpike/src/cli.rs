//! The command-line arguments.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Vehicle commands, answers and events as resumable streams, through one authenticated gateway.
#[derive(Parser)]
#[command(name = "turnpike", version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Subcommands>,
}

#[derive(Subcommand, Default)]
pub(crate) enum Subcommands {
    /// Run every service in this process (the default)
    #[default]
    Serve,
    /// Print the configuration in force, secrets masked
    Config,
    /// Sign in with a password from the terminal or a pipe, and save the session for later commands
    Login(Login),
    /// End the saved session at the server, and remove it here
    Logout(GatewayArgs),
    /// Print the signed-in user, the role, the server and the end of the session
    Whoami(GatewayArgs),
    /// Send a command to a vehicle and print its responses as they arrive
    Command(Command),
    /// Print the events of a topic, from its start or after an offset
    Follow(Follow),
    /// Ask a language model; Ctrl C stops its answer
    Chat(Chat),
    /// Print live captions of a recording or of a pipe, and write subtitles
    Captions(Captions),
    /// Create, list and revoke the API keys of the signed-in user
    ApiKeys(ApiKeys),
}

#[derive(Args)]
pub(crate) struct GatewayArgs {
    /// The gateway; by default at the address in TURNPIKE_HTTP
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
}

#[derive(Args)]
pub(crate) struct Login {
    #[command(flatten)]
    pub(crate) gateway: GatewayArgs,
    /// E-mail address or username; by default TURNPIKE_ADMIN_EMAIL, else `admin`
    #[arg(long, value_name = "NAME", visible_aliases = ["email", "username"])]
    pub(crate) user: Option<String>,
}

/// The gateway and the user. The client signs in with the saved session, else with the password in TURNPIKE_ADMIN_PASSWORD, else with
/// the one-time sign-in of a process on this machine.
#[derive(Args)]
pub(crate) struct SignInArgs {
    #[command(flatten)]
    pub(crate) gateway: GatewayArgs,
    /// E-mail address or username; by default the signed-in user, else TURNPIKE_ADMIN_EMAIL, else `admin`
    #[arg(long, value_name = "NAME", visible_aliases = ["email", "username"])]
    pub(crate) user: Option<String>,
    /// The data directory of the process on this machine, which contains the one-time sign-in; by default TURNPIKE_DATA_DIR, else
    /// ./turnpike-data
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Command {
    #[command(flatten)]
    pub(crate) sign_in: SignInArgs,
    /// The vehicle's id or VIN
    #[arg(long, value_name = "ID")]
    pub(crate) vehicle: String,
    /// ReadDTC, ClearDTC, ReadDataByID, RoutineControl or ECUReset
    pub(crate) name: String,
    /// A parameter, e.g. --param ecuAddress=0x10; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parameter)]
    pub(crate) params: Vec<(String, String)>,
    /// Deadline of the command, in seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u32>,
}

#[derive(Args)]
pub(crate) struct Follow {
    #[command(flatten)]
    pub(crate) sign_in: SignInArgs,
    /// E.g. response:0198c1d2-…, vehicle:…, user:…
    pub(crate) topic: String,
    /// `start`, `live`, or an offset to continue after
    #[arg(long, default_value = "start")]
    pub(crate) since: String,
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Chat {
    #[command(subcommand)]
    pub(crate) action: Option<ChatAction>,
    #[command(flatten)]
    pub(crate) sign_in: SignInArgs,
    /// The model; by default the configured one
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// Continue this conversation; by default a new one begins
    #[arg(long, value_name = "ID")]
    pub(crate) conversation: Option<String>,
    /// What to ask. Text from a pipe is added to it. Without both, each line that is typed is asked
    pub(crate) prompt: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum ChatAction {
    /// List the conversations, the newest change first
    List {
        #[command(flatten)]
        sign_in: SignInArgs,
    },
    /// Print the newest messages of a conversation
    Show {
        #[command(flatten)]
        sign_in: SignInArgs,
        /// The conversation
        id: String,
    },
    /// Search the titles and messages of all conversations
    Search {
        #[command(flatten)]
        sign_in: SignInArgs,
        /// Words; the last one may be the beginning of a word
        words: String,
    },
}

#[derive(Args)]
pub(crate) struct Captions {
    #[command(flatten)]
    pub(crate) sign_in: SignInArgs,
    /// The language that is spoken, e.g. `en`
    #[arg(long, value_name = "LANGUAGE")]
    pub(crate) language: Option<String>,
    /// The speech engine; by default the configured one
    #[arg(long, value_name = "NAME")]
    pub(crate) engine: Option<String>,
    /// Samples a second of a pipe without a WAV header
    #[arg(long, value_name = "HZ", default_value_t = 16_000)]
    pub(crate) rate: u32,
    /// Write the captions to this file as WebVTT
    #[arg(long, value_name = "FILE")]
    pub(crate) vtt: Option<PathBuf>,
    /// Write the captions to this file as SubRip
    #[arg(long, value_name = "FILE")]
    pub(crate) srt: Option<PathBuf>,
    /// Write the captions to this file as JSON, with the time of each word
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// A WAV file; `-` for a pipe with a WAV file or with 16-bit samples of one channel; or `mic`
    #[arg(value_name = "FILE.wav|-|mic")]
    pub(crate) audio: String,
}

#[derive(Args)]
pub(crate) struct ApiKeys {
    #[command(subcommand)]
    pub(crate) action: ApiKeysAction,
}

#[derive(Subcommand)]
pub(crate) enum ApiKeysAction {
    /// Create a key and print it; it is not shown again
    Create(NewApiKey),
    /// Print the keys, newest first
    List(SignInArgs),
    /// Revoke a key; its sockets are closed
    Revoke(RevokedApiKey),
}

#[derive(Args)]
pub(crate) struct NewApiKey {
    #[command(flatten)]
    pub(crate) sign_in: SignInArgs,
    /// A name for the list of keys
    pub(crate) name: String,
    /// What the key may be used for: all (the default), read, vehicles, chat, llm, captions or admin; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    pub(crate) scopes: Vec<String>,
    /// By default the key does not expire
    #[arg(long, value_name = "DAYS")]
    pub(crate) expires_in_days: Option<u32>,
    /// A limit of requests with the key
    #[arg(long, value_name = "NUMBER")]
    pub(crate) requests_per_minute: Option<u32>,
    /// A limit of tokens of language models
    #[arg(long, value_name = "NUMBER")]
    pub(crate) tokens_per_day: Option<u64>,
}

#[derive(Args)]
pub(crate) struct RevokedApiKey {
    #[command(flatten)]
    pub(crate) sign_in: SignInArgs,
    /// The id in the list of keys
    pub(crate) id: String,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
