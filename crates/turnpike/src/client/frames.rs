//! The frames of one topic, in order, each once. The client library connects again and resumes whenever the connection breaks.

use std::time::Duration;

use anyhow::{anyhow, bail};
use serde_json::Value;
use turnpike_client::{Client, Error, Options, Since, Topic, Update};

use super::api::Api;

pub(crate) struct Frames(Client<Api>);

/// Failed attempts in a row until the client gives up: about a minute.
const MAX_ATTEMPTS: u32 = 15;
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

impl Frames {
    pub(crate) fn open(api: Api, topic: Topic, since: Since) -> anyhow::Result<Self> {
        let options = Options { pauses: PAUSES, attempts: Some(MAX_ATTEMPTS) };
        let base = api.base().to_owned();
        let mut client = Client::new(&base, api, options)?;
        client.follow(topic, since);
        Ok(Self(client))
    }

    /// The next frame; `None` after the topic's end.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        loop {
            match self.0.next().await {
                Ok(
                    Update::Event { frame, .. }
                    | Update::Notice { frame, .. }
                    | Update::Reset { frame, .. }
                    | Update::Problem { frame },
                ) => return Ok(Some(frame)),
                Ok(Update::Closed { .. }) => return Ok(None),
                Ok(Update::Refused { code, detail, .. }) => bail!("{detail} ({code})"),
                Ok(_) => {}
                // The text says what to do.
                Err(Error::SignedOut(text)) => return Err(anyhow!(text)),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
