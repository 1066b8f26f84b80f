//! The models that servers list.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use tracing::debug;
use turnpike_kit::OnExit;

use crate::upstream::{
    Inner, Upstreams,
    bounds::Bounds,
    error::{Failure, FailureKind},
    listed::{Known, Model},
    response::Path,
    server::Server,
};

/// How long a list is used without asking again.
const FRESH: Duration = Duration::from_secs(10);
/// Bound for one list.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Maximum length of a response, number of models and length of an id.
const LENGTH: usize = 4 << 20;
const MODELS: usize = 1000;
const ID: usize = 200;

#[derive(Deserialize)]
struct List {
    data: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    #[serde(default)]
    owned_by: Option<String>,
    #[serde(default)]
    created: Option<f64>,
}

impl Upstreams {
    /// The models of every server that answers; an error if none does.
    pub async fn models(&self) -> Result<Vec<Model>, Failure> {
        let inner = &*self.0;
        let lists = futures_util::future::join_all(inner.servers.iter().map(|server| inner.models(server))).await;
        let mut models: Vec<Model> = lists.into_iter().flatten().collect();
        if models.is_empty() {
            return Err(Failure::new(FailureKind::Unreachable, "no server lists a model"));
        }
        let default = match &inner.model {
            Some(model) => models.iter().position(|listed| listed.id == *model),
            None => models.iter().position(|listed| listed.active),
        };
        for (n, model) in models.iter_mut().enumerate() {
            model.active = Some(n) == default;
        }
        Ok(models)
    }

    /// The servers in the order in which a request for this model tries them: those that list it first. A list is not waited for;
    /// it is asked for again beside the request if it is old.
    pub(super) fn order(&self, model: Option<&str>) -> Vec<&Server> {
        let inner = &*self.0;
        let mut servers: Vec<&Server> = inner.servers.iter().collect();
        let (Some(model), true) = (model, servers.len() > 1) else { return servers };
        let now = inner.clock.now();
        if servers.iter().any(|server| server.listed.known().is_none_or(|known| is_old(known.at, now))) {
            let upstreams = self.clone();
            let refresh = async move { _ = upstreams.models().await };
            if inner.refreshing.try_lock().is_some_and(|mut at| !std::mem::replace(&mut *at, true)) {
                let done = self.clone();
                inner.tasks.spawn("list of models", OnExit::Continue, async move {
                    refresh.await;
                    *done.0.refreshing.lock() = false;
                });
            }
        }
        servers.sort_by_key(|server| !server.listed.has(model)); // stable
        servers
    }
}

impl Inner {
    /// The models of a server, asked for at most every 10 seconds; none if it does not answer.
    async fn models(&self, server: &Server) -> Vec<Model> {
        let fresh = || server.listed.known().filter(|known| !is_old(known.at, self.clock.now()));
        if let Some(known) = fresh() {
            return known.models;
        }
        let _one = server.listed.asking.lock().await;
        if let Some(known) = fresh() {
            return known.models;
        }
        let models = match self.list(server).await {
            Ok(models) => models,
            Err(failure) => {
                debug!(server = server.name, cause = failure.cause, "a server did not list its models");
                Vec::new()
            }
        };
        server.listed.set(Known { at: self.clock.now(), models: models.clone() });
        models
    }

    /// The model for requests that name none.
    pub(super) async fn default_model(&self, server: &Server) -> Option<String> {
        if self.model.is_some() {
            return self.model.clone();
        }
        let models = self.models(server).await;
        models.iter().find(|model| model.active).map(|model| model.id.clone())
    }

    async fn list(&self, server: &Server) -> Result<Vec<Model>, Failure> {
        let list: List = self.ask(server, Method::GET, Path::InBase("/models"), Bytes::new(), PATIENCE).await?;
        let active = match server.is_scripted() {
            true => None,
            // TabbyAPI lists what is on its disk; this is the one that is loaded.
            false => self.ask::<Entry>(server, Method::GET, Path::InBase("/model"), Bytes::new(), PATIENCE).await.ok(),
        };
        let entries = list.data.into_iter().filter(|entry| (1..=ID).contains(&entry.id.len())).take(MODELS);
        let mut models: Vec<Model> = entries
            .map(|entry| Model {
                active: active.as_ref().is_some_and(|active| active.id == entry.id),
                id: entry.id,
                server: server.number,
                owned_by: entry.owned_by.unwrap_or_default().chars().take(ID).collect(),
                created_at: entry.created.and_then(|at| Timestamp::from_second(at as i64).ok()),
            })
            .collect();
        if !models.iter().any(|model| model.active)
            && let Some(first) = models.first_mut()
        {
            first.active = true;
        }
        Ok(models)
    }

    /// A request for the management of models, whose response is JSON.
    pub(super) async fn ask<T: for<'de> Deserialize<'de>>(
        &self,
        server: &Server,
        method: Method,
        path: Path,
        body: Bytes,
        patience: Duration,
    ) -> Result<T, Failure> {
        let body = self.manage(server, method, path, body, patience).await?;
        serde_json::from_slice(&body).map_err(|error| Failure::new(FailureKind::Broken, error))
    }

    /// A request for the management of models; an error unless the response is a success.
    pub(super) fn manage<'a>(
        &'a self,
        server: &'a Server,
        method: Method,
        path: Path,
        body: Bytes,
        patience: Duration,
    ) -> impl Future<Output = Result<Bytes, Failure>> + Send + 'a {
        let mut bounds = Bounds::new(&self.clock, self.clock.now(), patience, patience);
        async move {
            let work = async {
                let mut response = server.manage(method, path, body).await?;
                let body = response.body.collect(LENGTH).await.map_err(|e| Failure::new(FailureKind::Broken, e))?;
                match response.status.is_success() {
                    true => Ok(body),
                    false => Err(Failure::of_response(response.error(body))),
                }
            };
            bounds.within(work).await.unwrap_or_else(|late| Err(Failure::new(FailureKind::TimedOut, late)))
        }
    }
}

fn is_old(at: Timestamp, now: Timestamp) -> bool {
    at.checked_add(FRESH).is_ok_and(|end| end <= now)
}
