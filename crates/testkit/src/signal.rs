//! Signals to processes.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

/// How long a process may take until it has stopped.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends a signal, such as `INT`. After `STOP`, waits until every thread of the process has stopped: the kernel delivers the signal to
/// one thread, and on a busy machine the others run until that one does.
pub(crate) fn send(process: u32, signal: &str) {
    let id = process.to_string();
    let sent = Command::new("kill").args([&format!("-{signal}"), &id]).status().expect("kill is on the PATH");
    assert!(sent.success(), "process {id} gets the signal {signal}");
    if signal == "STOP" {
        let began = Instant::now();
        while !is_stopped(process) {
            assert!(began.elapsed() < PATIENCE, "process {id} has not stopped within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Whether no thread of a process can run.
fn is_stopped(process: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("the process runs");
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default(); // empty: the thread has ended
        stat.rsplit_once(')').is_none_or(|(_, state)| state.trim_start().starts_with(['T', 't', 'X', 'Z']))
    })
}
