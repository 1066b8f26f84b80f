//! An engine on another machine: a server with OpenAI's `/v1/audio/transcriptions`, for other languages and larger models. Each
//! hypothesis is a request with the audio of the segment.

mod form;
mod http;
mod words;

use std::{sync::Arc, time::Duration};

use ::http::Uri;
use secrecy::SecretString;
use tokio::runtime::Handle;
use turnpike_kit::Trust;

use self::http::Http;
use super::{Engine, EngineError, Hypothesis, RATE, Stream};

/// Attempts for a final. A hypothesis of a live segment has one: the next one follows soon.
const ATTEMPTS: u32 = 3;
/// Pause before another attempt.
const PAUSE: Duration = Duration::from_millis(500);
/// Shorter audio is refused by OpenAI: 0.1 s.
const SHORTEST: usize = RATE as usize / 10;
/// Between two looks at whether a partial is superseded.
const LOOK: Duration = Duration::from_millis(20);

/// How the server is called.
#[derive(Clone, Debug)]
pub struct RemoteConfig {
    /// With its `/v1`.
    pub url: Uri,
    /// Empty: none is sent.
    pub api_key: SecretString,
    pub model: String,
    pub trust: Trust,
}

/// The server.
pub struct Remote(Arc<Server>);

struct Server {
    http: Http,
    config: RemoteConfig,
    /// Threads that run engines are not threads of the runtime.
    runtime: Handle,
}

impl Remote {
    /// Called on the runtime, whose threads then send the requests.
    pub fn new(config: RemoteConfig) -> Self {
        Self(Arc::new(Server { http: Http::new(&config.trust), config, runtime: Handle::current() }))
    }
}

impl Engine for Remote {
    fn name(&self) -> &'static str {
        "remote"
    }

    /// The server decides.
    fn knows(&self, _: &str) -> bool {
        true
    }

    fn open(&self, language: &str) -> Box<dyn Stream> {
        Box::new(Session { server: self.0.clone(), language: language.to_owned(), last: Hypothesis::default() })
    }
}

struct Session {
    server: Arc<Server>,
    language: String,
    /// Of the live segment.
    last: Hypothesis,
}

impl Session {
    /// `None`: superseded.
    fn ask(&self, pcm: &[f32], superseded: &dyn Fn() -> bool) -> Result<Option<Hypothesis>, EngineError> {
        if pcm.len() < SHORTEST {
            return Ok(Some(Hypothesis::default()));
        }
        let Server { http, config, runtime } = &*self.server;
        let (content_type, body) = form::encode(pcm, &config.model, &self.language);
        let until_superseded = async {
            while !superseded() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let answer = runtime.block_on(async {
            tokio::select! {
                answer = http.post(config, content_type, body) => answer.map(Some),
                () = until_superseded => Ok(None),
            }
        })?;
        answer.map(|answer| words::parse(&answer, pcm.len() as f32 / RATE as f32)).transpose()
    }
}

impl Stream for Session {
    fn begin_segment(&mut self) {
        self.last = Hypothesis::default();
    }

    /// If the server does not answer, the hypothesis before stays: it is not final.
    fn hypothesize(
        &mut self,
        pcm: &[f32],
        _: usize,
        superseded: &dyn Fn() -> bool,
    ) -> Result<Option<Hypothesis>, EngineError> {
        match self.ask(pcm, superseded) {
            Ok(Some(heard)) => self.last = heard,
            Ok(None) => return Ok(None),
            Err(error) => tracing::warn!(%error, "a partial caption is missing"),
        }
        Ok(Some(self.last.clone()))
    }

    fn finalize(&mut self, pcm: &[f32], _: usize) -> Result<Hypothesis, EngineError> {
        let mut attempt = 1;
        loop {
            match self.ask(pcm, &|| false) {
                Err(error) if attempt < ATTEMPTS => {
                    tracing::warn!(%error, attempt, "a caption is asked for again");
                    let pause = async { tokio::time::sleep(PAUSE * attempt).await }; // a timer needs the runtime
                    self.server.runtime.block_on(pause);
                    attempt += 1;
                }
                heard => return heard.map(Option::unwrap_or_default),
            }
        }
    }
}
