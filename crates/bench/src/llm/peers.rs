//! Starts the gateways that are compared, each with its own configuration in front of the same upstream.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use super::target::{Connection, Target};
use crate::child::{Process, free_port, start};

/// A gateway of others, in the order of the tables.
pub(crate) const NAMES: [&str; 6] = ["nginx", "envoy", "smg", "sglang-router", "portkey", "litellm"];

/// Starts a peer and waits until it answers. Otherwise says why it cannot be measured.
pub(crate) fn start_peer(name: &str, peers: &Path, upstream: &str, work: &Path) -> Result<(Process, Target), String> {
    let port = free_port();
    let folder = work.join(name);
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let command = command(name, peers, upstream, port, &folder)?;
    let log = folder.join("log");
    let process = start(command, &log).map_err(|error| format!("does not start: {error}"))?;
    let header = match name {
        "portkey" => vec!["x-portkey-provider: openai".to_owned(), format!("x-portkey-custom-host: {upstream}/v1")],
        _ => Vec::new(),
    };
    let target = Target {
        url: format!("http://127.0.0.1:{port}/v1"),
        key: "sk-bench".to_owned(),
        header,
        pid: Some(process.id()),
    };
    match wait_until_it_answers(&target) {
        Ok(()) => Ok((process, target)),
        Err(why) => {
            let log = fs::read_to_string(&log).unwrap_or_default();
            let last = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            Err(format!("{why}; last line of its log: {}", last.chars().take(160).collect::<String>()))
        }
    }
}

/// Some peers need half a minute to start.
fn wait_until_it_answers(target: &Target) -> Result<(), String> {
    let end = Instant::now() + Duration::from_secs(90);
    let request = target.request("id=0", false);
    let mut last = String::from("no connection");
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(200));
        if std::net::TcpStream::connect(target.address()).is_err() {
            continue;
        }
        let mut connection = Connection::open(target);
        last = match connection.call(&request) {
            Ok(200) => return Ok(()),
            Ok(status) => format!(
                "status {status}: {}",
                String::from_utf8_lossy(connection.body()).chars().take(120).collect::<String>()
            ),
            Err(error) => error.to_string(),
        };
    }
    Err(format!("did not answer within 90 s ({last})"))
}

fn command(name: &str, peers: &Path, upstream: &str, port: u16, folder: &Path) -> Result<Command, String> {
    let installed = |path: &str| -> Result<PathBuf, String> {
        let program = peers.join(name).join(path);
        if program.exists() { Ok(program) } else { Err("not installed".to_owned()) }
    };
    let file = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).expect("the folder is writable");
        path
    };
    let address = upstream.trim_start_matches("http://");
    let (host, upstream_port) = address.split_once(':').expect("an address");
    let port_text = port.to_string();
    let mut command;
    match name {
        "nginx" => {
            let path = ["/usr/sbin/nginx", "/usr/bin/nginx"]
                .into_iter()
                .find(|path| Path::new(path).exists())
                .ok_or("not installed")?;
            let config =
                include_str!("../../peers/nginx.conf").replace("UPSTREAM", address).replace("PORT", &port_text);
            command = Command::new(path);
            command.arg("-p").arg(folder).arg("-e").arg("stderr").arg("-c").arg(file("nginx.conf", config));
        }
        "envoy" => {
            let config = include_str!("../../peers/envoy.yaml")
                .replace("UPSTREAM_HOST", host)
                .replace("UPSTREAM_PORT", upstream_port)
                .replace("PORT", &port_text);
            command = Command::new(installed("bin/envoy")?);
            command.arg("-c").arg(file("envoy.yaml", config)).args([
                "--use-dynamic-base-id",
                "--concurrency",
                "2",
                "-l",
                "error",
            ]);
        }
        "smg" => {
            command = Command::new(installed("bin/smg")?);
            command.args(["launch", "--worker-urls", upstream, "--host", "127.0.0.1", "--port", &port_text]);
            command.args([
                "--policy",
                "round_robin",
                "--log-level",
                "error",
                "--prometheus-port",
                &free_port().to_string(),
            ]);
        }
        "sglang-router" => {
            command = Command::new(installed("bin/python")?);
            command.args(["-m", "sglang_router.launch_router", "--worker-urls", upstream, "--host", "127.0.0.1"]);
            command.args(["--port", &port_text, "--policy", "round_robin", "--log-level", "error"]);
            command.args(["--prometheus-port", &free_port().to_string()]);
        }
        "portkey" => {
            let program = installed("node_modules/@portkey-ai/gateway/build/start-server.js")?;
            command = Command::new("node");
            command.arg(program).args([&format!("--port={port}"), "--headless"]).env("NODE_ENV", "production");
        }
        "litellm" => {
            let config = include_str!("../../peers/litellm.yaml").replace("UPSTREAM", upstream);
            command = Command::new(installed("bin/python")?);
            command.arg(installed("bin/litellm")?).args(["--host", "127.0.0.1", "--port", &port_text, "--config"]);
            command
                .arg(file("litellm.yaml", config))
                .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
                .env("LITELLM_LOG", "ERROR");
        }
        _ => return Err("unknown".to_owned()),
    }
    command.current_dir(folder);
    Ok(command)
}
