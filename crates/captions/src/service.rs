//! The service: its parts and its tasks.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context;
use tonic::service::{Routes, RoutesBuilder};
use tracing::{info, warn};
use turnpike_bus::Bus;
use turnpike_identity::Verifier;
use turnpike_kit::{OnExit, Process};
use turnpike_proto::{
    captions::v1::caption_service_server::CaptionServiceServer, topic::v1::topic_owner_server::TopicOwnerServer,
};
use turnpike_rpc::Transport;

use crate::{
    Config,
    chat::Chat,
    engine::{Engines, moonshine::Moonshine, remote::Remote},
    policy::POLICY,
    recording::MAX_FILE,
    rpc::Rpc,
    session::{Pool, Registry, Resources, Store, sweep},
    topic_rpc::TopicRpc,
};

/// Pause between two searches for a model that is not installed yet.
const LOOK: Duration = Duration::from_secs(1);
/// Pause between two attempts to load a model whose folder has not changed.
const AGAIN: Duration = Duration::from_secs(30);

pub struct Deps {
    pub bus: Bus,
    pub verifier: Verifier,
    /// The chat service, which translates captions and has the rooms in which they are published.
    pub chat: Transport,
    /// For tests. `None`: the model in the configured folder.
    pub engines: Option<Engines>,
}

/// Caption sessions.
pub struct Service {
    routes: Routes,
}

impl Service {
    /// Loads the model and the transcripts. Without a model the service runs, and refuses to open sessions until there is
    /// one.
    pub async fn bind(config: Config, process: &Process, deps: Deps) -> anyhow::Result<Self> {
        let engines = match deps.engines {
            Some(engines) => engines,
            None => engines(&config, process).await?,
        };
        let store = Store::open(config.transcripts.clone())
            .with_context(|| format!("{} (TURNPIKE_DATA_DIR)", config.transcripts.display()))?;
        let asked = store.clone();
        turnpike_kit::probe(process, "captions transcripts", "the data directory cannot be written", move || {
            let store = asked.clone();
            async move { store.answers().await }
        });
        let pool = Pool::start(process, config.threads).context("the threads of the speech engine")?;
        let chat = Chat::new(deps.chat);
        let registry = Registry::new(Resources {
            engines,
            pool,
            bus: deps.bus,
            clock: process.clock.clone(),
            tasks: process.tasks.clone(),
            store,
            chat: chat.clone(),
            idle: config.idle,
            most: config.sessions,
        });
        registry.restore().await.context("the transcripts in TURNPIKE_DATA_DIR")?;
        sweep(process, &registry, config.retention);
        let mut services = RoutesBuilder::default();
        services.add_service(TopicOwnerServer::new(TopicRpc { registry: registry.clone() }));
        services.add_service(
            CaptionServiceServer::new(Rpc::new(registry, chat)).max_decoding_message_size(MAX_FILE + 1024),
        );
        Ok(Self { routes: turnpike_rpc::with_interceptors(process, services, POLICY, deps.verifier) })
    }

    /// What clients call.
    pub fn routes(&self) -> Routes {
        self.routes.clone()
    }
}

/// The configured engines. The model on this machine is the default one, also if it is installed while the service runs.
async fn engines(config: &Config, process: &Process) -> anyhow::Result<Engines> {
    let engines = Engines::default();
    if let Some(remote) = &config.remote {
        process.outbound.permit(&remote.url.to_string())?;
        engines.install(Arc::new(Remote::new(remote.clone())));
    }
    let changed = changed(&config.model);
    if !install(&config.model, &engines).await {
        info!(
            folder = %config.model.display(),
            "no speech model is loaded; scripts/captions-model fetches it, and it is loaded when it is there"
        );
        let (folder, engines, stopping) = (config.model.clone(), engines.clone(), process.tasks.stopping().clone());
        process.tasks.spawn("speech model", OnExit::Continue, async move {
            stopping.run_until_cancelled(await_model(&folder, &engines, changed)).await;
        });
    }
    Ok(engines)
}

/// When the folder was changed for the last time; `None` if it does not exist.
fn changed(folder: &Path) -> Option<SystemTime> {
    std::fs::metadata(folder).and_then(|folder| folder.modified()).ok()
}

/// Loads the model once its folder exists. A model that cannot be loaded is tried again when its folder changes, and now and then,
/// because a file that is still being written does not change its folder.
async fn await_model(folder: &Path, engines: &Engines, mut tried: Option<SystemTime>) {
    let mut last = Instant::now();
    loop {
        turnpike_kit::tick(LOOK).await;
        let now = changed(folder);
        if now == tried && last.elapsed() < AGAIN {
            continue;
        }
        (tried, last) = (now, Instant::now());
        if install(folder, engines).await {
            return;
        }
    }
}

/// Loads the model, if its folder exists. Returns whether it is an engine now.
async fn install(folder: &Path, engines: &Engines) -> bool {
    let path = folder.to_owned();
    let loaded = tokio::task::spawn_blocking(move || path.exists().then(|| Moonshine::load(&path))).await;
    match loaded {
        Ok(Some(Ok(engine))) => {
            info!(folder = %folder.display(), "the speech model is loaded");
            engines.install(Arc::new(engine));
            true
        }
        Ok(Some(Err(error))) => {
            warn!(%error, folder = %folder.display(), "the speech model cannot be loaded; scripts/captions-model checks it");
            false
        }
        Ok(None) => false,
        Err(error) => {
            warn!(%error, folder = %folder.display(), "the speech model cannot be loaded");
            false
        }
    }
}
