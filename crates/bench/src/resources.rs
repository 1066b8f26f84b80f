//! CPU time and memory of a process and its children, and of the whole machine, from /proc.

use std::{collections::HashMap, fs, time::Instant};

/// The processes of a tree: the process and all its descendants.
fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let entries = fs::read_dir("/proc").expect("/proc exists").flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        if let Some(parent) = fields(pid).and_then(|fields| fields.get(1)?.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut all = vec![root];
    let mut next = 0;
    while next < all.len() {
        all.extend(children.get(&all[next]).into_iter().flatten());
        next += 1;
    }
    all
}

/// The fields of /proc/PID/stat after the name: state, parent, …
fn fields(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// Resident memory of a process and its children in bytes. Pages that they share count once for each.
pub(crate) fn memory(root: u32) -> u64 {
    let resident = |pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.to_owned();
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    tree(root).into_iter().filter_map(resident).sum::<u64>() * 1024
}

/// CPU time of a process and its children in seconds.
pub(crate) fn cpu_seconds(root: u32) -> f64 {
    let of = |pid| {
        let fields = fields(pid)?;
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    };
    tree(root).into_iter().filter_map(of).sum::<u64>() as f64 / TICKS
}

/// Linux reports CPU time in hundredths of a second on every architecture.
const TICKS: f64 = 100.0;

/// CPU time of the whole machine in seconds, without idle time.
fn machine_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/stat").expect("/proc/stat exists");
    let numbers: Vec<u64> =
        stat.lines().next().expect("a line").split_whitespace().filter_map(|part| part.parse().ok()).collect();
    numbers.iter().enumerate().filter(|(at, _)| !matches!(at, 3 | 4 | 8 | 9)).map(|(_, ticks)| ticks).sum::<u64>()
        as f64
        / TICKS
}

/// Measures, from its start, the CPU cores that were used on average.
pub(crate) struct Cores {
    target: Option<u32>,
    start: Instant,
    own: f64,
    under_test: f64,
    machine: f64,
}

/// Cores in use on average: by the load generator, by the process under test, and by the whole machine.
#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
pub(crate) struct Used {
    pub(crate) generator: f64,
    pub(crate) target: f64,
    pub(crate) machine: f64,
}

impl Cores {
    pub(crate) fn start(target: Option<u32>) -> Self {
        let under_test = target.map_or(0.0, cpu_seconds);
        Self {
            target,
            start: Instant::now(),
            own: cpu_seconds(std::process::id()),
            under_test,
            machine: machine_seconds(),
        }
    }

    pub(crate) fn used(&self) -> Used {
        let seconds = self.start.elapsed().as_secs_f64();
        Used {
            generator: (cpu_seconds(std::process::id()) - self.own) / seconds,
            target: (self.target.map_or(0.0, cpu_seconds) - self.under_test) / seconds,
            machine: (machine_seconds() - self.machine) / seconds,
        }
    }
}
