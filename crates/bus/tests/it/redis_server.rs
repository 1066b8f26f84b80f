//! A Redis of one's own, to do to it what one does not do to others.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use redis::{Client, FromRedisValue, aio::MultiplexedConnection};
use tempfile::TempDir;

use crate::following::soon;

/// A Redis process on a free port of this machine; it ends with this.
pub(crate) struct TestRedis {
    directory: TempDir,
    persistence: Persistence,
    port: u16,
    process: Option<Child>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// A restart begins with nothing.
    None,
    /// A restart begins where the last process ended.
    AppendOnlyFile,
}

impl TestRedis {
    /// One that answers.
    pub(crate) async fn start(persistence: Persistence) -> Self {
        let mut redis = Self::reserve(persistence);
        redis.restart().await;
        redis
    }

    /// One that is not there yet.
    pub(crate) fn reserve(persistence: Persistence) -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).expect("a free port").port();
        Self { directory: TempDir::new().expect("a directory"), persistence, port, process: None }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Starts the process again, on the same port, and waits until it answers.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        let append_only = if self.persistence == Persistence::AppendOnlyFile { "yes" } else { "no" };
        let process = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", append_only])
            .arg("--dir")
            .arg(self.directory.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is on the PATH");
        self.process = Some(process);
        soon("a Redis that answers", async {
            while self.connect().await.is_none() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// Ends the process at once, as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("a process of ours");
            process.wait().expect("a process of ours");
        }
    }

    /// The process keeps its connections and does nothing.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.process.as_ref().expect("a running process").id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().expect("kill is on the PATH").success());
    }

    /// Sends a command of words over a connection of its own.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        ask(&self.connect().await.expect("a connection"), command).await
    }

    async fn connect(&self) -> Option<MultiplexedConnection> {
        let client = Client::open(self.url()).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        redis::cmd("PING").query_async::<()>(&mut connection).await.ok()?;
        Some(connection)
    }
}

impl Drop for TestRedis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a command of words.
pub(crate) async fn ask<T: FromRedisValue>(connection: &MultiplexedConnection, command: &str) -> T {
    let mut words = command.split_whitespace();
    let mut cmd = redis::cmd(words.next().expect("a command"));
    words.for_each(|word| {
        cmd.arg(word);
    });
    cmd.query_async(&mut connection.clone()).await.unwrap_or_else(|error| panic!("{command}: {error}"))
}

/// The Redis that all tests share. Whoever uses it keeps to keys of its own.
pub(crate) fn shared_url() -> String {
    std::env::var("TURNPIKE_TEST_REDIS_URL").expect("TURNPIKE_TEST_REDIS_URL names a Redis for tests")
}
