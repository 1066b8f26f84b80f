//! The servers that tests use.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{Host, eventually};

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with ./scripts/test"))
}

/// The Redis that all tests share; whoever uses it keeps to keys of its own.
pub fn redis_url() -> String {
    variable("TURNPIKE_TEST_REDIS_URL")
}

/// A Postgres on which databases may be made.
pub fn postgres_url() -> String {
    variable("TURNPIKE_TEST_POSTGRES_URL")
}

/// Its port on its host.
const REDIS: u16 = 0;

/// A Redis process of one's own, to do to it what one does not do to others.
pub struct RedisServer {
    directory: TempDir,
    host: Host,
    process: Option<Child>,
    keeps_data: bool,
}

impl RedisServer {
    /// One whose restart begins with nothing, or, with `keeps_data`, where it ended.
    pub async fn start(keeps_data: bool) -> Self {
        let mut redis = Self::reserve(keeps_data);
        redis.restart().await;
        redis
    }

    /// One that is not there yet.
    pub fn reserve(keeps_data: bool) -> Self {
        let directory = TempDir::new().expect("a directory");
        Self { directory, host: Host::claim(), process: None, keeps_data }
    }

    /// The process keeps its connections and does nothing.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// It goes on.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.process.as_ref().expect("a running process").id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().expect("kill is on the PATH").success());
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis://{}", self.host.address(REDIS))
    }

    /// Starts the process again on the same address, and waits until it answers.
    pub async fn restart(&mut self) {
        self.kill();
        let append_only = if self.keeps_data { "yes" } else { "no" };
        let address = self.host.address(REDIS);
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        let process = Command::new("redis-server")
            .args(["--bind", &ip, "--port", &port, "--protected-mode", "no"])
            .args(["--save", "", "--appendonly", append_only])
            .arg("--dir")
            .arg(self.directory.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is on the PATH");
        self.process = Some(process);
        eventually("a Redis that answers", 20, || async move { answers(address).await.then_some(()) }).await;
    }

    /// Sets `maxmemory`; 0 is no limit. A Redis with less than it uses answers, and refuses writes.
    pub async fn limit_memory(&self, bytes: u64) {
        let mut stream = TcpStream::connect(self.host.address(REDIS)).await.expect("a running process");
        stream.write_all(format!("CONFIG SET maxmemory {bytes}\r\n").as_bytes()).await.expect("sent");
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"+OK\r\n");
    }

    /// Bytes of the append-only file. A published event is in the file when its publish returns.
    pub fn written(&self) -> u64 {
        std::fs::metadata(self.append_only_file()).expect("an append-only file").len()
    }

    /// Kills the process, cuts the append-only file back to an earlier length, and starts the process again: everything
    /// that was written after that moment is lost, as after a power cut.
    pub async fn restart_as_of(&mut self, written: u64) {
        self.kill();
        let file = std::fs::OpenOptions::new().write(true).open(self.append_only_file()).expect("an append-only file");
        file.set_len(written).expect("a file that can be cut");
        self.restart().await;
    }

    /// Redis 7 keeps several files in a directory; the one with the newest commands is named `….incr.aof`.
    fn append_only_file(&self) -> PathBuf {
        let directory = self.directory.path();
        let files = std::fs::read_dir(directory.join("appendonlydir")).into_iter().flatten();
        let newest = files
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.to_string_lossy().ends_with(".incr.aof"))
            .max();
        newest.unwrap_or_else(|| directory.join("appendonly.aof"))
    }

    /// Ends the process at once, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("a process of ours");
            process.wait().expect("a process of ours");
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn answers(address: SocketAddr) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(&answer == b"+PONG")
    };
    asked.await.unwrap_or(false)
}
