//! Runs every measurement on every gateway, one gateway after the other.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep},
};
use turnpike_testkit::{SingleProcess, binary};

use super::{
    Compare, durable,
    peers::{NAMES, Process, start, start_peer},
    resources::{Cores, memory},
    table::{Row, busy, print},
    target::Target,
};

/// Stops every started process when it is interrupted.
pub(crate) async fn run(options: &Compare) {
    let mut terminated = signal(SignalKind::terminate()).expect("the signal can be handled");
    tokio::select! {
        () = measure_all(options) => {}
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
}

async fn measure_all(options: &Compare) {
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    let work = TempDir::new().expect("a temporary directory is created");
    let (_upstream, upstream) = start_own(&["llm-upstream"], &work.path().join("upstream.log")).await;
    let quiet = Cores::start(None);
    sleep(Duration::from_secs(2)).await;
    let busy = busy(quiet.used());
    let bench = Bench { options, upstream: &upstream };
    let direct = Target { url: format!("{upstream}/v1"), key: "none".to_owned(), header: Vec::new(), pid: None };
    let mut rows = vec![bench.measure("direct", &direct).await];
    if wanted("floor") {
        let arguments = ["llm-floor", "--upstream", &direct.url];
        let (process, url) = start_own(&arguments, &work.path().join("floor.log")).await;
        let target = Target { url: format!("{url}/v1"), pid: Some(process.id()), ..direct.clone() };
        rows.push(bench.measure("floor", &target).await);
    }
    let variables = [("TURNPIKE_LLM_URL", direct.url.as_str()), ("TURNPIKE_LOG", "warn")];
    if wanted("turnpike") {
        let turnpike = SingleProcess::start(&variables).await;
        let target = Target {
            url: format!("{}/v1", turnpike.url()),
            key: turnpike.admin().await.token,
            header: Vec::new(),
            pid: Some(turnpike.process.id()),
        };
        rows.push(bench.measure("turnpike", &target).await);
    }
    for name in NAMES.into_iter().filter(|name| wanted(name)) {
        let peers = options.peers.clone().unwrap_or_default();
        let (work, upstream) = (work.path().to_owned(), upstream.clone());
        let started = tokio::task::spawn_blocking(move || start_peer(name, &peers, &upstream, &work)).await;
        rows.push(match started.expect("the start does not panic") {
            Ok((_process, target)) => bench.measure(name, &target).await,
            Err(missing) => Row { name: name.to_owned(), missing: Some(missing), ..Row::default() },
        });
    }
    print(&rows);
    if wanted("turnpike") && !options.no_durable {
        let turnpike = SingleProcess::start(&variables).await;
        durable::streams(&turnpike, options.streams, 100, options.seconds).await;
        durable::stops(&turnpike, &upstream, 20).await;
        durable::lengths(&turnpike, options.messages).await;
    }
    if let Some(busy) = busy {
        println!("{busy}");
    }
}

/// Starts a subcommand of this program, which prints its address first.
async fn start_own(arguments: &[&str], log: &Path) -> (Process, String) {
    let mut command = Command::new(program());
    command.args(arguments);
    let process = start(command, log).expect("the process starts");
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        if let Some((address, _)) = text.split_once('\n') {
            return (process, format!("http://{address}"));
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("{arguments:?} did not print its address");
}

fn program() -> PathBuf {
    binary("turnpike-bench")
}

struct Bench<'a> {
    options: &'a Compare,
    upstream: &'a str,
}

impl Bench<'_> {
    /// Each load is a process of its own, so that its CPU time is known.
    async fn measure(&self, name: &str, target: &Target) -> Row {
        println!("measuring {name}");
        let idle = target.pid.map(memory);
        let seconds = self.options.seconds.to_string();
        load::<serde_json::Value>("max", target, &[("seconds", "2")]).await; // warms up
        let maximum: Option<super::unary::Maximum> = load("max", target, &[("seconds", &seconds)]).await;
        let possible = maximum.as_ref().map_or(0.0, |maximum| maximum.per_second);
        // A gateway that cannot reach the rate is measured at a rate below its maximum.
        let rate = (self.options.rate as f64).min(possible * 0.6).max(1.0) as u64;
        let unary = load("unary", target, &[("rate", &rate.to_string()), ("seconds", &seconds)]).await;
        let streams = if possible < 200.0 { self.options.streams.min(4) } else { self.options.streams };
        let delay = load("stream", target, &[("streams", &streams.to_string()), ("seconds", &seconds)]).await;
        let closes = load("close", target, &[("upstream", self.upstream), ("count", "20")]).await;
        let stream_memory = match target.pid {
            Some(_) => load("memory", target, &[("streams", "200")]).await.flatten(),
            None => None,
        };
        Row { name: name.to_owned(), missing: None, unary, maximum, delay, closes, idle, stream_memory }
    }
}

/// Runs `llm-load` and reads its result.
async fn load<T: DeserializeOwned + Send + 'static>(
    kind: &str,
    target: &Target,
    options: &[(&str, &str)],
) -> Option<T> {
    let mut command = Command::new(program());
    command.args(["llm-load", kind, "--url", &target.url, "--key", &target.key]);
    for header in &target.header {
        command.args(["--header", header]);
    }
    if let Some(pid) = target.pid {
        command.args(["--pid", &pid.to_string()]);
    }
    for (name, value) in options {
        command.arg(format!("--{name}")).arg(value);
    }
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output =
        tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("the program starts");
    serde_json::from_slice(&output.stdout).ok()
}
