//! One process of ours.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use crate::eventually;

/// The path of a binary of this workspace, built like the running one: `./scripts/test` and `./scripts/bench` see to it.
pub fn binary(name: &str) -> PathBuf {
    // A test is target/<profile>/deps/<test>, a program target/<profile>/<program>.
    let running = std::env::current_exe().expect("a running program");
    let near = running.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    near.unwrap_or_else(|| panic!("{name} is not built: run ./scripts/test or ./scripts/bench"))
}

/// A process, killed when this is dropped.
pub struct Running {
    name: String,
    program: PathBuf,
    variables: BTreeMap<String, String>,
    directory: PathBuf,
    log: PathBuf,
    open_files: Option<u32>,
    child: Option<Child>,
}

impl Running {
    /// Prepares a process with these variables and no other of ours, in a directory for its files and its log.
    pub fn new(name: &str, program: &str, variables: BTreeMap<String, String>, directory: &Path) -> Self {
        let log = directory.join(format!("{name}.log"));
        Self {
            name: name.to_owned(),
            program: binary(program),
            variables,
            directory: directory.to_owned(),
            log,
            open_files: None,
            child: None,
        }
    }

    /// Limits the files that the process may have open, from its next start on.
    pub fn limit_open_files(&mut self, limit: u32) {
        self.open_files = Some(limit);
    }

    /// Starts it.
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).expect("a log file");
        let mut command = match self.open_files {
            None => Command::new(&self.program),
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", r#"ulimit -n "$1" && exec "$0""#]).arg(&self.program).arg(limit.to_string());
                shell
            }
        };
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TURNPIKE_")) {
            command.env_remove(name);
        }
        let child = command
            .env("TURNPIKE_OFFLINE", "1")
            .envs(&self.variables)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("a binary of ours");
        self.child = Some(child);
    }

    /// Ends it at once: SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a process of ours");
            child.wait().expect("a process of ours");
        }
    }

    /// Asks it to stop, SIGTERM, and waits until it has.
    pub async fn stop(&mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("a running process");
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill is on the PATH").success());
        let status = eventually(&format!("{} to stop", self.name), 30, || {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().expect("a process of ours"));
            async move { ended }
        })
        .await;
        self.child = None;
        status
    }

    /// The exit status, if it has ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().expect("a process of ours"))
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The memory that it occupies, in bytes.
    pub fn memory(&self) -> u64 {
        let id = self.child.as_ref().expect("a running process").id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }
}

impl Drop for Running {
    #[expect(clippy::print_stderr, reason = "what a failed test is understood by")]
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let last: Vec<_> = log.lines().rev().take(40).collect();
            eprintln!("--- the last lines of {} ---", self.name);
            last.into_iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}
