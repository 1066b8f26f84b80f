//! One process, from its first line to its exit code.

use std::{future::Future, process::ExitCode, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::{Clock, Environment, Health, Outbound, Tasks, descriptors, log, pages, recorder::recorder};

/// How long a soft stop may take before the remaining tasks are dropped.
const GRACE: Duration = Duration::from_secs(20);

/// What every part of a process is given.
#[derive(Clone)]
pub struct Process {
    /// The variables it was started with.
    pub env: Environment,
    /// The clock.
    pub clock: Clock,
    /// The tasks of the process, and how they are stopped.
    pub tasks: Tasks,
    /// The components that the process needs, and whether they work.
    pub health: Health,
    /// The addresses that the process may connect to.
    pub outbound: Outbound,
    last: Arc<Mutex<Vec<BoxFuture<'static, ()>>>>,
}

impl Process {
    /// A process in a known environment, on a given clock.
    pub fn new(env: Environment, clock: Clock) -> anyhow::Result<Self> {
        recorder(); // before anything is counted
        let outbound = Outbound::new(&env)?;
        Ok(Self { env, clock, tasks: Tasks::default(), health: Health::default(), outbound, last: Arc::default() })
    }

    /// Runs a future after all tasks have ended, to close what they used.
    pub fn at_the_end(&self, last: impl Future<Output = ()> + Send + 'static) {
        self.last.lock().push(Box::pin(last));
    }

    /// Stops: readiness turns false, tasks finish or are dropped after `grace`, then the futures of [`Process::at_the_end`] run.
    /// Returns whether every task finished by itself.
    pub async fn stop(&self, grace: Duration) -> bool {
        self.health.stop();
        let finished = self.tasks.finish(grace).await;
        let last = std::mem::take(&mut *self.last.lock());
        for work in last.into_iter().rev() {
            if tokio::time::timeout(Duration::from_secs(2), work).await.is_err() {
                warn!("a resource did not close in time");
            }
        }
        finished
    }
}

/// Runs a process: reads the environment, logs, calls `start`, which binds and spawns and returns, then waits for SIGTERM or
/// SIGINT and stops. Exit code 0 after a clean stop; 1 if `start` failed or a task with [`OnExit::StopProcess`](crate::OnExit)
/// ended.
pub fn run(name: &'static str, start: impl AsyncFnOnce(&Process) -> anyhow::Result<()>) -> ExitCode {
    let failed = |error: anyhow::Error| {
        print_error(name, &error);
        ExitCode::FAILURE
    };
    let env = match Environment::of_process().and_then(|env| log::init(&env).map(|()| env)) {
        Ok(env) => env,
        Err(error) => return failed(error.into()),
    };
    pages::keep_small();
    descriptors::raise();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(error.into()),
    };
    let code = runtime.block_on(async {
        let process = match Process::new(env, Clock::system()) {
            Ok(process) => process,
            Err(error) => return failed(error),
        };
        let mut signals = match Signals::listen() {
            Ok(signals) => signals,
            Err(error) => return failed(error.into()),
        };
        let started = tokio::select! {
            started = start(&process) => started,
            // `start` may wait for a service that never answers.
            () = signals.next() => {
                info!("asked to stop before it was ready");
                process.stop(Duration::from_secs(5)).await;
                return ExitCode::SUCCESS;
            }
        };
        if let Err(error) = started {
            process.tasks.finish(Duration::from_secs(1)).await;
            return failed(error);
        }
        info!(process = name, version = env!("CARGO_PKG_VERSION"), "started");
        signals.stop(&process).await
    });
    // Does not wait for blocking tasks such as password hashes.
    runtime.shutdown_background();
    code
}

/// As [`run`], for a program that takes no arguments and is configured by its environment alone.
pub fn run_service(name: &'static str, start: impl AsyncFnOnce(&Process) -> anyhow::Result<()>) -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None => run(name, start),
        Some("--help" | "-h") => print(&format!(
            "{name} takes no arguments; it is configured by TURNPIKE_* variables, which `turnpike config` lists."
        )),
        Some("--version" | "-V") => print(&format!("{name} {}", env!("CARGO_PKG_VERSION"))),
        Some(other) => {
            print_error(
                name,
                &anyhow::anyhow!("unexpected argument {other:?}; it is configured by TURNPIKE_* variables"),
            );
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stdout, reason = "the answer to --help and --version")]
fn print(text: &str) -> ExitCode {
    println!("{text}");
    ExitCode::SUCCESS
}

struct Signals {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }

    /// Waits for the first signal, or for the end of a task that the process needs; a second signal ends the grace.
    async fn stop(mut self, process: &Process) -> ExitCode {
        tokio::select! {
            () = self.next() => info!("asked to stop"),
            () = process.tasks.stopping().cancelled() => {}
        }
        tokio::select! {
            _ = process.stop(GRACE) => {}
            () = self.next() => warn!("asked twice: stopping at once"),
        }
        match process.tasks.failed() {
            None => {
                info!("stopped");
                ExitCode::SUCCESS
            }
            Some(task) => {
                tracing::error!(task, "stopped because a task that the process needs has ended");
                ExitCode::FAILURE
            }
        }
    }
}

/// Prints the reason of a failed start on standard error.
#[expect(clippy::print_stderr, reason = "shown whatever the log's level is")]
fn print_error(name: &str, error: &anyhow::Error) {
    eprintln!("{name}: {error:#}");
}

/// How this program was started, for instructions that name it.
pub fn executable() -> String {
    let path = std::env::current_exe().ok();
    let here = std::env::current_dir().ok();
    let near = path.as_ref().and_then(|path| path.strip_prefix(here?).ok().map(|path| format!("./{}", path.display())));
    near.or(path.map(|path| path.display().to_string())).unwrap_or_else(|| "turnpike".to_owned())
}
