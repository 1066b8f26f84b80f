//! Live captions of real speech, through the public API and in real time, beside other recognisers on the same recordings.

mod live;
mod material;
mod offline;
mod peers;
mod results;
mod soak;

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tokio::task::JoinSet;
use turnpike_testkit::{Person, SingleProcess};

use self::{material::Material, results::Results};
use crate::resources::Cores;

#[derive(Args)]
pub(crate) struct Options {
    /// The folder of the speech model
    #[arg(long)]
    model: PathBuf,
    /// A Python interpreter with the packages of peers/captions.txt; without it, only Turnpike is measured
    #[arg(long)]
    python: Option<PathBuf>,
    /// How often the five sentences are spoken
    #[arg(long, default_value_t = 4)]
    rounds: usize,
    /// Sessions at the same time
    #[arg(long, default_value_t = 6)]
    streams: usize,
    /// Seconds for which all sessions run in the soak; 0: no soak
    #[arg(long, default_value_t = 300)]
    soak: usize,
}

pub(crate) async fn measure(options: Options) {
    let material = Material::new(options.rounds);
    println!(
        "{} sentences of {} recordings, {:.0} s, sent in real time in frames of 32 ms",
        material.utterances.len(),
        material.clips.len(),
        material.seconds()
    );
    let model = options.model.to_str().expect("UTF-8");
    let streams = options.streams.to_string();
    let variables =
        [("TURNPIKE_CAPTIONS_MODEL", model), ("TURNPIKE_CAPTIONS_SESSIONS", &streams), ("TURNPIKE_LOG", "warn")];
    let turnpike = SingleProcess::start(&variables).await;
    let admin = turnpike.admin().await;
    let base = turnpike.url().to_owned();

    let whole = offline::transcribe(&turnpike, &admin, &material).await;
    let (heard, cores) = together(&turnpike, &admin, &material, 1).await;
    let mut rows = vec![Results::of("Turnpike", &material, &heard, cores, Some(whole))];
    let (heard, cores) = together(&turnpike, &admin, &material, options.streams).await;
    rows.push(Results::of(&format!("Turnpike, {} at once", options.streams), &material, &heard, cores, None));
    let finalized = live::finalized(&base, &admin, &material).await;
    if let Some(python) = &options.python {
        for (name, title) in [("moonshine-voice", "moonshine-voice 0.0.59"), ("pocketsphinx", "PocketSphinx 5")] {
            match peers::run(python, name, &material) {
                Ok(peer) => rows.push(Results::of(title, &material, &[peer.heard], peer.cores, Some(peer.whole))),
                Err(error) => println!("{title} could not be measured: {error}"),
            }
        }
    }
    results::print(&rows);
    println!("final after a client's finalize: {}", results::spread(finalized));
    refused(&base, &admin, options.streams).await;
    if options.soak > 0 {
        soak::run(&turnpike, &admin, &material, options.streams, options.soak).await;
    }
}

/// So many sessions that hear the same sentences, each 0.7 s after the one before, and the cores for each.
async fn together(
    turnpike: &SingleProcess,
    admin: &Person,
    material: &Material,
    count: usize,
) -> (Vec<Vec<live::Event>>, f64) {
    let cores = Cores::start(Some(turnpike.process.id()));
    let mut running = JoinSet::new();
    for n in 0..count {
        let (base, admin, material) = (turnpike.url().to_owned(), admin.clone(), material.clone());
        running.spawn(async move {
            tokio::time::sleep(std::time::Duration::from_millis(700 * n as u64)).await;
            live::listen(&base, &admin, &material).await
        });
    }
    let heard = running.join_all().await;
    (heard, cores.used().target / count as f64)
}

/// Opens one session more than there may be.
async fn refused(base: &str, admin: &Person, most: usize) {
    let mut opened = Vec::new();
    for _ in 0..most {
        opened.push(live::open(base, admin).await);
    }
    let answer = admin.post("/api/captions/sessions", json!({})).await;
    let after = answer.headers.get("retry-after").and_then(|value| value.to_str().ok()).unwrap_or("none");
    println!("session {} of {most}: {} {}, Retry-After {after}", most + 1, answer.status, answer.json["code"]);
    for id in opened {
        admin.delete(&format!("/api/captions/sessions/{id}")).await;
    }
}
