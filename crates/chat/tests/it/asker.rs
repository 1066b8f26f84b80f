//! A user who asks the model.

use tonic::{Status, Streaming};
use turnpike_event::{Body, ChatEvent, Event};
use turnpike_fault::Fault;
use turnpike_proto::chat::v1::{
    self as pb, answer_service_client::AnswerServiceClient, conversation_service_client::ConversationServiceClient,
};
use turnpike_topic::{ConversationId, Offset};

use crate::world::{Instance, Person};

#[derive(Clone)]
pub struct Asker {
    pub person: Person,
    pub answers: AnswerServiceClient<turnpike_rpc::Transport>,
    pub conversations: ConversationServiceClient<turnpike_rpc::Transport>,
}

/// The events of an answer, as its caller gets them.
pub struct Answer(Streaming<pb::AnswerEvent>);

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    pub offset: Option<Offset>,
    pub event: ChatEvent,
    pub replayed: bool,
}

impl Person {
    /// At a service.
    pub fn at(&self, instance: &Instance) -> Asker {
        let transport = instance.transport();
        Asker {
            person: self.clone(),
            answers: AnswerServiceClient::new(transport.clone()),
            conversations: ConversationServiceClient::new(transport),
        }
    }
}

impl Asker {
    /// A new conversation.
    pub async fn conversation(&self) -> ConversationId {
        let request = self.person.token.request(pb::CreateConversationRequest::default());
        let created = self.conversations.clone().create_conversation(request).await.expect("created").into_inner();
        created.conversation.expect("a conversation").id.parse().expect("an id")
    }

    pub async fn get(&self, id: ConversationId) -> pb::Conversation {
        let request = pb::GetConversationRequest { conversation_id: id.to_string() };
        self.conversations.clone().get_conversation(self.person.token.request(request)).await.expect("own").into_inner()
    }

    /// The shown path.
    pub async fn messages(&self, id: ConversationId) -> Vec<pb::Message> {
        let request = pb::ListMessagesRequest {
            conversation_id: id.to_string(),
            limit: 100,
            ..pb::ListMessagesRequest::default()
        };
        let response = self.conversations.clone().list_messages(self.person.token.request(request)).await;
        response.expect("own").into_inner().messages
    }

    pub async fn say(&self, id: ConversationId, content: &str) -> Answer {
        self.send(self.message(id, content)).await.expect("accepted")
    }

    pub fn message(&self, id: ConversationId, content: &str) -> pb::SendMessageRequest {
        let (conversation_id, content) = (id.to_string(), content.to_owned());
        pb::SendMessageRequest { conversation_id, content, ..pb::SendMessageRequest::default() }
    }

    pub async fn send(&self, request: pb::SendMessageRequest) -> Result<Answer, Fault> {
        let response = self.answers.clone().send_message(self.person.token.request(request)).await?;
        Ok(Answer(response.into_inner()))
    }

    pub async fn again(&self, id: ConversationId, message_id: &str) -> Result<Answer, Fault> {
        let (conversation_id, message_id) = (id.to_string(), message_id.to_owned());
        let request = pb::RegenerateRequest { conversation_id, message_id, ..pb::RegenerateRequest::default() };
        let response = self.answers.clone().regenerate(self.person.token.request(request)).await?;
        Ok(Answer(response.into_inner()))
    }

    /// Returns the id of the answer that was running.
    pub async fn stop(&self, id: ConversationId) -> Result<String, Fault> {
        let request = pb::StopAnswerRequest { conversation_id: id.to_string() };
        Ok(self.answers.clone().stop_answer(self.person.token.request(request)).await?.into_inner().message_id)
    }

    pub async fn delete(&self, id: ConversationId) {
        let request = pb::DeleteConversationRequest { conversation_id: id.to_string() };
        self.conversations.clone().delete_conversation(self.person.token.request(request)).await.expect("own");
    }
}

impl Answer {
    /// The next event; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Received>, Status> {
        let Some(pb::AnswerEvent { offset, event, replayed }) = self.0.message().await? else { return Ok(None) };
        let Body::Chat(event) = Event::from_bytes(event).body else { panic!("not of a conversation") };
        let offset = (!offset.is_empty()).then(|| offset.parse().expect("an offset"));
        Ok(Some(Received { offset, event, replayed }))
    }

    /// The events up to the end.
    pub async fn rest(mut self) -> Vec<Received> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await.expect("no error") {
            events.push(event);
        }
        events
    }

    /// Reads until the text so far contains this.
    pub async fn until(&mut self, text: &str) -> Vec<Received> {
        let mut events = Vec::new();
        while !text_of(&events).contains(text) {
            events.push(self.next().await.expect("no error").expect("the text"));
        }
        events
    }
}

/// The pieces of the answer, joined.
pub fn text_of(events: &[Received]) -> String {
    let content = |received: &Received| match &received.event {
        ChatEvent::Delta { content, .. } => content.clone(),
        _ => String::new(),
    };
    events.iter().map(content).collect()
}

/// The last event's text, if it is a message.
pub fn whole(events: &[Received]) -> &str {
    match events.last().map(|received| &received.event) {
        Some(ChatEvent::Message { content, .. }) => content,
        other => panic!("{other:?}"),
    }
}
