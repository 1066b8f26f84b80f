//! Recognisers of others, as Python packages. A program feeds them in real time and reports what they heard and when.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde::Deserialize;
use tempfile::TempDir;
use turnpike_testkit::pcm;

use super::{live::Event, material::Material, offline::Whole};

/// The program, which gets the name of a package and a folder of recordings.
const PROGRAM: &str = include_str!("../../peers/captions.py");

/// What a peer heard.
pub(super) struct Peer {
    pub(super) heard: Vec<Event>,
    pub(super) cores: f64,
    pub(super) whole: Whole,
}

#[derive(Deserialize)]
struct Report {
    events: Vec<Event>,
    cores: f64,
    whole: String,
    whole_cpu: f64,
}

pub(super) fn run(python: &Path, name: &str, material: &Material) -> Result<Peer, String> {
    let folder = TempDir::new().map_err(|error| error.to_string())?;
    let write = |name: &str, samples: &[i16]| fs::write(folder.path().join(name), pcm(samples));
    write("live.raw", &material.samples).map_err(|error| error.to_string())?;
    for (n, clip) in material.clips.iter().enumerate() {
        write(&format!("clip{n}.raw"), &clip.samples).map_err(|error| error.to_string())?;
    }
    let mut command = Command::new(python);
    command.args(["-c", PROGRAM, name]).arg(folder.path()).stdin(Stdio::null());
    let output = command.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    // Native libraries may print as well: the report is the last line.
    let report: Result<Report, _> = serde_json::from_str(text.trim().lines().last().unwrap_or_default());
    let Report { events, cores, whole, whole_cpu } =
        report.map_err(|_| String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("no report").to_owned())?;
    Ok(Peer { heard: events, cores, whole: Whole { text: whole, cpu: whole_cpu } })
}
