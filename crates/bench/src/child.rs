//! Started programs, and the cores that they use.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
};

/// A started process, killed with its children when it is dropped.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process leads a group, which its children belong to.
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", self.0.id())]).status();
        let _ = self.0.wait();
    }
}

/// Starts a program in a process group of its own; its output goes to a file.
pub(crate) fn start(mut command: Command, log: &Path) -> std::io::Result<Process> {
    use std::os::unix::process::CommandExt;
    let log = fs::File::create(log)?;
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(name);
    }
    let child = command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
    Ok(Process(child))
}

/// A port of 127.0.0.1 that is free at the moment.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("an address").port()
}

/// All threads of this process, and processes that it starts, run on these cores, such as `0` or `0,1`. Without `taskset`, they do
/// not.
pub(crate) fn run_on(cores: &str) {
    let id = std::process::id().to_string();
    let _ = Command::new("taskset").args(["-a", "-c", "-p", cores, &id]).stdout(Stdio::null()).status();
}
