//! Loading and unloading models, on servers that can: TabbyAPI and Ollama.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use turnpike_fault::{Fault, Kind};

use crate::upstream::{
    Inner, Upstreams,
    error::{Failure, FailureKind, UpstreamError},
    response::Path,
    server::Server,
};

/// Bound for finding out what a server is, and for loading or unloading a model.
const LOOK: Duration = Duration::from_secs(10);
const LOAD: Duration = Duration::from_secs(30);

const CANNOT: &str =
    "This server cannot load or unload models; TabbyAPI and Ollama can. Start the server with the model that you want";

/// What a server is, as far as it manages models.
enum Manager {
    Tabby,
    Ollama,
}

/// The models that Ollama has in memory.
#[derive(Deserialize)]
struct Running {
    models: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

impl Upstreams {
    /// Loads a model on the first server that can, beginning with those that list it.
    pub async fn load(&self, model: &str) -> Result<(), Fault> {
        let inner = &*self.0;
        let _ = self.models().await; // so that the order is known
        for server in self.order(Some(model)) {
            let done = match inner.manager(server).await {
                None => continue,
                Some(Manager::Tabby) => {
                    inner.order(server, Path::InBase("/model/load"), &json!({ "model_name": model })).await
                }
                Some(Manager::Ollama) => inner.keep(server, model, -1).await,
            };
            server.listed.forget();
            return done;
        }
        Err(cannot())
    }

    /// Unloads what the first server that can has loaded.
    pub async fn unload(&self) -> Result<(), Fault> {
        let inner = &*self.0;
        for server in &inner.servers {
            let done = match inner.manager(server).await {
                None => continue,
                Some(Manager::Tabby) => inner.order(server, Path::InBase("/model/unload"), &json!({})).await,
                Some(Manager::Ollama) => inner.unload_all(server).await,
            };
            server.listed.forget();
            return done;
        }
        Err(cannot())
    }
}

impl Inner {
    /// What a server is. TabbyAPI has the route of the active model, whether or not one is loaded.
    async fn manager(&self, server: &Server) -> Option<Manager> {
        if server.is_scripted() {
            return None;
        }
        let ollama =
            self.ask::<Value>(server, Method::GET, Path::OutsideBase("/api/version"), Bytes::new(), LOOK).await;
        if ollama.is_ok_and(|version| version["version"].is_string()) {
            return Some(Manager::Ollama);
        }
        match self.manage(server, Method::GET, Path::InBase("/model"), Bytes::new(), LOOK).await {
            Ok(_) => Some(Manager::Tabby),
            // Without a loaded model it responds 400 or 503, with this text.
            Err(failure) => {
                let body = failure.response.map(|response| response.body).unwrap_or_default();
                memchr::memmem::find(&body, b"No models are").map(|_| Manager::Tabby)
            }
        }
    }

    async fn unload_all(&self, server: &Server) -> Result<(), Fault> {
        let running: Running = self
            .ask(server, Method::GET, Path::OutsideBase("/api/ps"), Bytes::new(), LOOK)
            .await
            .map_err(|f| fault(&f))?;
        for model in running.models {
            self.keep(server, &model.name, 0).await?;
        }
        Ok(())
    }

    /// Tells Ollama how long to keep a model: -1 for good, 0 not at all.
    async fn keep(&self, server: &Server, model: &str, keep_alive: i64) -> Result<(), Fault> {
        let body = json!({ "model": model, "keep_alive": keep_alive, "stream": false });
        self.order(server, Path::OutsideBase("/api/generate"), &body).await
    }

    async fn order(&self, server: &Server, path: Path, body: &Value) -> Result<(), Fault> {
        let body = Bytes::from(body.to_string());
        let answer = self.manage(server, Method::POST, path, body, LOAD).await.map_err(|failure| fault(&failure))?;
        // TabbyAPI reports the progress as events, and a failure as one of them.
        match memchr::memmem::find(&answer, b"\"error\"") {
            None => Ok(()),
            Some(_) => Err(fault(&Failure::new(FailureKind::Broken, String::from_utf8_lossy(&answer)))),
        }
    }
}

fn cannot() -> Fault {
    Fault::new(Kind::Conflict, CANNOT).code_is("MODEL_MANAGEMENT_UNSUPPORTED")
}

fn fault(failure: &Failure) -> Fault {
    tracing::warn!(cause = failure.cause, "a server did not load or unload a model");
    if failure.kind == FailureKind::Unauthorised {
        let detail = "The server refuses to manage models; TURNPIKE_LLM_API_KEY must be its admin key";
        return Fault::new(Kind::Conflict, detail).code_is("MODEL_MANAGEMENT_REFUSED");
    }
    let error = failure.to_error();
    let message = match failure.kind {
        FailureKind::TimedOut => "The server has not finished within 30 s; it may still load the model",
        FailureKind::Broken | FailureKind::Refused => "The server could not load or unload the model",
        _ => return error.into(),
    };
    UpstreamError { message: message.to_owned(), ..error }.into()
}
