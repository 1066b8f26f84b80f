//! The Redis and Postgres servers that tests use.

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

use crate::{Host, eventually, signal};

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with ./scripts/test"))
}

/// The Redis that all tests share. Each test uses its own keys.
pub fn redis_url() -> String {
    variable("TURNPIKE_TEST_REDIS_URL")
}

/// A Postgres on which a test may create databases.
pub fn postgres_url() -> String {
    variable("TURNPIKE_TEST_POSTGRES_URL")
}

/// The index of the Redis port on its host.
const REDIS: u16 = 0;

/// A private Redis process that a test may pause, limit or kill.
pub struct RedisServer {
    directory: TempDir,
    host: Host,
    process: Option<Child>,
    keeps_data: bool,
}

impl RedisServer {
    /// Starts a Redis. With `keeps_data` it has an append-only file and its data survives a restart; otherwise a restart loses
    /// everything.
    pub async fn start(keeps_data: bool) -> Self {
        let mut redis = Self::reserve(keeps_data);
        redis.restart().await;
        redis
    }

    /// Reserves an address for a Redis that is not running yet.
    pub fn reserve(keeps_data: bool) -> Self {
        let directory = TempDir::new().expect("a temporary directory is created");
        Self { directory, host: Host::claim(), process: None, keeps_data }
    }

    /// Stops the process with SIGSTOP: connections stay open and nothing is read or written.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Continues a paused process.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        signal::send(self.process.as_ref().expect("Redis runs").id(), name);
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.host.address(REDIS))
    }

    /// Kills the process, starts it on the same address and waits until it answers.
    pub async fn restart(&mut self) {
        self.kill();
        let append_only = if self.keeps_data { "yes" } else { "no" };
        let address = self.host.address(REDIS);
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        let process = Command::new("redis-server")
            .args(["--bind", &ip, "--port", &port, "--protected-mode", "no"])
            // With the default, a write reaches the file later while the disk is slow, and a killed process would lose it.
            .args(["--save", "", "--appendonly", append_only, "--appendfsync", "always"])
            .arg("--dir")
            .arg(self.directory.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is on the PATH");
        self.process = Some(process);
        eventually("Redis to answer", 20, || async move { answers(address).await.then_some(()) }).await;
    }

    /// Sets `maxmemory` in bytes; 0 means no limit. A Redis that uses more answers reads and refuses writes.
    pub async fn limit_memory(&self, bytes: u64) {
        let mut stream = TcpStream::connect(self.host.address(REDIS)).await.expect("Redis runs");
        stream.write_all(format!("CONFIG SET maxmemory {bytes}\r\n").as_bytes()).await.expect("the command is sent");
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.expect("Redis answers");
        assert_eq!(&answer, b"+OK\r\n");
    }

    /// The length of the append-only file in bytes. A published event is in the file when the publish returns.
    pub fn append_only_length(&self) -> u64 {
        std::fs::metadata(self.append_only_file()).expect("the append-only file exists").len()
    }

    /// Kills the process, truncates the append-only file to an earlier length and starts the process again. Writes after that
    /// length are lost, as after a power failure.
    pub async fn restart_truncated(&mut self, length: u64) {
        self.kill();
        let file =
            std::fs::OpenOptions::new().write(true).open(self.append_only_file()).expect("the append-only file exists");
        file.set_len(length).expect("the file is truncated");
        self.restart().await;
    }

    /// Redis 7 has several files in a directory; the newest commands are in the last `….incr.aof`. Redis 6 has a single file.
    fn append_only_file(&self) -> PathBuf {
        let directory = self.directory.path();
        let files = std::fs::read_dir(directory.join("appendonlydir")).into_iter().flatten();
        let newest = files
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.to_string_lossy().ends_with(".incr.aof"))
            .max();
        newest.unwrap_or_else(|| directory.join("appendonly.aof"))
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("Redis can be killed");
            process.wait().expect("Redis can be waited for");
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn answers(address: SocketAddr) -> bool {
    let ping = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(&answer == b"+PONG")
    };
    ping.await.unwrap_or(false)
}
