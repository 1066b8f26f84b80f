//! One process of the product.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use crate::{eventually, signal};

/// The path of a binary of this workspace, in the profile of the running program. `./scripts/test` and `./scripts/bench` build
/// it.
pub fn binary(name: &str) -> PathBuf {
    // A test is at target/<profile>/deps/<test>, a binary at target/<profile>/<binary>.
    let running = std::env::current_exe().expect("the path of the running program is known");
    let found = running.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not built: run ./scripts/test or ./scripts/bench"))
}

/// A process of the product. Dropping it kills the process.
pub struct ServiceProcess {
    name: String,
    program: PathBuf,
    variables: BTreeMap<String, String>,
    directory: PathBuf,
    log: PathBuf,
    open_files: Option<u32>,
    child: Option<Child>,
}

impl ServiceProcess {
    /// Prepares a process. It gets these `TURNPIKE_*` variables and no others; its files and its log go into the directory.
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

    /// Limits the number of open files. Takes effect at the next start.
    pub fn limit_open_files(&mut self, limit: u32) {
        self.open_files = Some(limit);
    }

    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).expect("the log file is writable");
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
            .stdout(log.try_clone().expect("the log file is writable"))
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        self.child = Some(child);
    }

    /// The path of the program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its `TURNPIKE_*` variables.
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// Its working directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the process can be killed");
            child.wait().expect("the process can be waited for");
        }
    }

    /// Sends a signal, such as `INT`. After `STOP`, no thread runs any more.
    pub fn signal(&self, name: &str) {
        signal::send(self.child.as_ref().expect("the process runs").id(), name);
    }

    /// Sends SIGTERM and waits until the process has exited.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        let status = eventually(&format!("{} to stop", self.name), 30, || {
            let status = self.child.as_mut().and_then(|child| child.try_wait().expect("the process can be waited for"));
            async move { status }
        })
        .await;
        self.child = None;
        status
    }

    /// The exit status, if the process has exited without being stopped.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().expect("the process can be waited for"))
    }

    /// The standard output and error so far, of all starts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("the process runs").id()
    }

    /// The CPU time that the process has used so far.
    pub fn cpu(&self) -> Duration {
        let id = self.id();
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("the process runs");
        // The fields after the name, which is in parentheses: the 14th and 15th of all are user and system time in 1/100 s.
        let fields = stat.rsplit_once(')').expect("a name").1.split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * 10)
    }

    /// The resident memory in bytes.
    pub fn memory(&self) -> u64 {
        let id = self.id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("the process runs");
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("/proc names the resident memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("VmRSS is a number") * 1024
    }
}

impl Drop for ServiceProcess {
    #[expect(clippy::print_stderr, reason = "shows the log of a failed test")]
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let last: Vec<_> = log.lines().rev().take(40).collect();
            eprintln!("--- last lines of the log of {} ---", self.name);
            last.into_iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}
