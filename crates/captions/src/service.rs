//! The service: its parts and its tasks.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use tonic::service::{Routes, RoutesBuilder};
use tracing::{info, warn};
use turnpike_bus::Bus;
use turnpike_identity::Verifier;
use turnpike_kit::Process;
use turnpike_proto::{
    captions::v1::caption_service_server::CaptionServiceServer, topic::v1::topic_owner_server::TopicOwnerServer,
};
use turnpike_rpc::Transport;

use crate::{
    Config,
    chat::Chat,
    engine::{Engine, Engines, moonshine::Moonshine, remote::Remote},
    policy::POLICY,
    recording::MAX_FILE,
    rpc::Rpc,
    session::{Pool, Registry, Resources, Store, sweep},
    topic_rpc::TopicRpc,
};

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
    /// Loads the model and the transcripts. Without a model the service runs, and refuses to open sessions.
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

/// The configured engines. The model on this machine is the default one.
async fn engines(config: &Config, process: &Process) -> anyhow::Result<Engines> {
    let folder = config.model.clone();
    let model = tokio::task::spawn_blocking(move || load(&folder)).await.context("TURNPIKE_CAPTIONS_MODEL")?;
    let mut engines: Vec<Arc<dyn Engine>> = model.into_iter().map(|model| Arc::new(model) as Arc<dyn Engine>).collect();
    if let Some(remote) = &config.remote {
        process.outbound.permit(&remote.url.to_string())?;
        engines.push(Arc::new(Remote::new(remote.clone())));
    }
    if engines.is_empty() {
        info!("there is no speech engine: no caption session can be opened; scripts/captions-model fetches a model");
    }
    Ok(engines.into())
}

fn load(folder: &Path) -> Option<Moonshine> {
    if !folder.exists() {
        info!(folder = %folder.display(), "there is no speech model");
        return None;
    }
    match Moonshine::load(folder) {
        Ok(engine) => {
            info!(folder = %folder.display(), "the speech model is loaded");
            Some(engine)
        }
        Err(error) => {
            warn!(%error, folder = %folder.display(), "the speech model cannot be loaded; scripts/captions-model checks it");
            None
        }
    }
}
