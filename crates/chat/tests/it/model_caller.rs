//! A caller of the service for models.

use serde_json::{Value, json};
use tonic::Streaming;
use turnpike_fault::Fault;
use turnpike_proto::chat::v1::{self as pb, model_service_client::ModelServiceClient};
use turnpike_rpc::Transport;

use crate::world::{Instance, Person};

pub use pb::Endpoint;

#[derive(Clone)]
pub struct Caller {
    person: Person,
    client: ModelServiceClient<Transport>,
}

/// A response that is passed on.
#[derive(Debug)]
pub struct Forwarded {
    pub status: u32,
    pub content_type: String,
    pub retry_after: u32,
    pub body: Streaming<pb::ForwardPart>,
}

impl Caller {
    pub fn new(person: Person, instance: &Instance) -> Self {
        Self { person, client: ModelServiceClient::new(instance.transport()).max_decoding_message_size(64 << 20) }
    }

    /// The same person, as a caller of another instance.
    pub fn at(&self, instance: &Instance) -> Self {
        Self::new(self.person.clone(), instance)
    }

    pub fn user_id(&self) -> String {
        self.person.user_id.to_string()
    }

    /// Forwards a request to an endpoint; returns when the head of the response is there.
    pub async fn forward(&self, endpoint: Endpoint, body: impl Into<Vec<u8>>) -> Result<Forwarded, Fault> {
        let request = pb::ForwardRequest { endpoint: endpoint.into(), body: body.into().into() };
        let mut body = self.client.clone().forward(self.person.token.request(request)).await?.into_inner();
        let first = body.message().await?.expect("a head").part;
        let Some(pb::forward_part::Part::Head(head)) = first else { panic!("{first:?}") };
        let pb::ForwardHead { status, content_type, retry_after } = head;
        Ok(Forwarded { status, content_type, retry_after, body })
    }

    /// A chat of one message.
    pub async fn chat(&self, stream: bool) -> Result<Forwarded, Fault> {
        self.forward(Endpoint::ChatCompletions, question(stream).to_string()).await
    }

    pub async fn translate(&self, text: &str, into: &str) -> Result<String, Fault> {
        let request = pb::TranslateRequest { text: text.into(), into: into.into() };
        Ok(self.client.clone().translate(self.person.token.request(request)).await?.into_inner().text)
    }

    pub async fn models(&self) -> Result<Vec<pb::Model>, Fault> {
        let request = self.person.token.request(pb::ListModelsRequest {});
        Ok(self.client.clone().list_models(request).await?.into_inner().models)
    }

    pub async fn load(&self, model: &str) -> Result<(), Fault> {
        let request = self.person.token.request(pb::LoadModelRequest { model: model.to_owned() });
        self.client.clone().load_model(request).await?;
        Ok(())
    }

    pub async fn unload(&self) -> Result<(), Fault> {
        self.client.clone().unload_model(self.person.token.request(pb::UnloadModelRequest {})).await?;
        Ok(())
    }

    pub async fn usage(&self, request: pb::GetUsageRequest) -> Result<pb::GetUsageResponse, Fault> {
        Ok(self.client.clone().get_usage(self.person.token.request(request)).await?.into_inner())
    }
}

/// The request of a chat of one message.
pub fn question(stream: bool) -> Value {
    json!({ "model": "fake-model", "messages": [{ "role": "user", "content": "Hi" }], "stream": stream })
}

impl Forwarded {
    /// The next bytes of the body; `None` at its end.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        let part = self.body.message().await.expect("no error after the head")?;
        match part.part.expect("a part") {
            pb::forward_part::Part::Body(bytes) => Some(bytes.to_vec()),
            part @ pb::forward_part::Part::Head(_) => panic!("{part:?}"),
        }
    }

    /// Reads until the body holds this text.
    pub async fn until(&mut self, text: &str) -> String {
        let mut body = Vec::new();
        while !String::from_utf8_lossy(&body).contains(text) {
            body.extend(
                self.next().await.unwrap_or_else(|| panic!("no {text:?} in {}", String::from_utf8_lossy(&body))),
            );
        }
        String::from_utf8(body).expect("UTF-8")
    }

    /// The rest of the body.
    pub async fn rest(&mut self) -> String {
        let mut body = Vec::new();
        while let Some(bytes) = self.next().await {
            body.extend(bytes);
        }
        String::from_utf8(body).expect("UTF-8")
    }

    /// The rest of the body as JSON.
    pub async fn json(&mut self) -> Value {
        serde_json::from_str(&self.rest().await).expect("JSON")
    }
}
