//! Starts the servers of others, each with its own configuration.

use std::{
    any::Any,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use super::{GENERATOR, SERVER, client::Protocol, publisher::Way};
use crate::child::{free_port, run_on, start as start_process};

/// In the order of the table.
pub(crate) const NAMES: [&str; 6] = ["floor", "nchan", "nats", "mosquitto", "socketio", "fastapi"];

/// A running server.
pub(crate) struct Server {
    /// Where its sockets are opened, in turn.
    pub(crate) addresses: Vec<String>,
    pub(crate) protocol: Protocol,
    pub(crate) publish: Way,
    /// Its processes; their children belong to them.
    pub(crate) pids: Vec<u32>,
    /// They end when this is dropped.
    pub(crate) _processes: Box<dyn Any>,
}

/// Starts a peer on the core of servers and waits until it listens. Otherwise says why it cannot be measured.
pub(crate) async fn start(name: &str, peers: &Path, work: &Path) -> Result<Server, String> {
    let (port, second) = (free_port(), free_port());
    let folder = work.join(name);
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let mut command = command(name, peers, port, second, &folder)?;
    command.current_dir(&folder);
    let log = folder.join("log");
    run_on(SERVER);
    let process = start_process(command, &log);
    run_on(GENERATOR);
    let process = process.map_err(|error| format!("does not start: {error}"))?;
    let (address, published) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{second}"));
    let (protocol, publish) = match name {
        "nchan" => (Protocol::Nchan, Way::Http(address.clone())),
        "nats" => (Protocol::Nats, Way::Nats(published.clone())),
        "mosquitto" => (Protocol::Mqtt, Way::Mqtt(published.clone())),
        "socketio" => (Protocol::SocketIo, Way::Http(address.clone())),
        "fastapi" => (Protocol::Plain, Way::Http(address.clone())),
        _ => (Protocol::Plain, Way::Lines(address.clone())),
    };
    let two = matches!(name, "nats" | "mosquitto");
    let end = Instant::now() + Duration::from_secs(30);
    let listens = |address: &str| std::net::TcpStream::connect(address).is_ok();
    while !listens(&address) || (two && !listens(&published)) {
        if Instant::now() > end {
            let log = fs::read_to_string(&log).unwrap_or_default();
            return Err(format!("did not listen within 30 s: {}", log.lines().last().unwrap_or_default()));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(Server { addresses: vec![address], protocol, publish, pids: vec![process.id()], _processes: Box::new(process) })
}

fn command(name: &str, peers: &Path, port: u16, second: u16, folder: &Path) -> Result<Command, String> {
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        let text = text.replace("PORT", &port.to_string()).replace("SECOND", &second.to_string());
        fs::write(&path, text).expect("the folder is writable");
        path
    };
    let system = |name: &str| {
        let folders = ["/usr/sbin", "/usr/bin", "/usr/local/bin"];
        let found = folders.into_iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
        found.ok_or_else(|| "not installed".to_owned())
    };
    let installed = |path: &str| -> Result<PathBuf, String> {
        let program = peers.join(name).join(path);
        if program.exists() { Ok(program) } else { Err("not installed".to_owned()) }
    };
    let mut command;
    match name {
        "floor" => {
            command = Command::new(turnpike_testkit::binary("turnpike-bench"));
            command.args(["realtime-floor", &port.to_string()]);
        }
        "nchan" => {
            let config = file("nginx.conf", include_str!("../../peers/nchan.conf"));
            command = Command::new(system("nginx")?);
            command.arg("-p").arg(folder).arg("-e").arg("stderr").arg("-c").arg(config);
        }
        "nats" => {
            command = Command::new(system("nats-server")?);
            command.arg("-c").arg(file("nats.conf", include_str!("../../peers/nats.conf")));
        }
        "mosquitto" => {
            command = Command::new(system("mosquitto")?);
            command.arg("-c").arg(file("mosquitto.conf", include_str!("../../peers/mosquitto.conf")));
        }
        "socketio" => {
            let modules = installed("node_modules")?;
            let program = file("server.js", include_str!("../../peers/socketio/server.js"));
            command = Command::new(system("node").unwrap_or_else(|_| PathBuf::from("node")));
            command.arg(program).env("NODE_PATH", modules);
        }
        "fastapi" => {
            file("server.py", include_str!("../../peers/fastapi/server.py"));
            command = Command::new(installed("bin/python")?);
            command.args(["-m", "uvicorn", "server:app", "--host", "127.0.0.1", "--port", &port.to_string()]);
            command.args(["--no-access-log", "--log-level", "warning", "--ws-ping-interval", "0"]);
        }
        _ => return Err("unknown".to_owned()),
    }
    Ok(command)
}
