//! A caller of the service of conversations, and messages that a test stores itself.

use std::time::Duration;

use sqlx::{AnyConnection, Connection};
use tokio_stream::StreamExt;
use turnpike_fault::Fault;
use turnpike_proto::chat::v1::{self as pb, conversation_service_client::ConversationServiceClient};
use turnpike_rpc::Transport;
use turnpike_topic::MessageId;

use crate::world::{Instance, Person, World};

#[derive(Clone)]
pub struct Caller {
    pub person: Person,
    client: ConversationServiceClient<Transport>,
}

macro_rules! calls {
    ($($method:ident($request:ty) -> $response:ty;)*) => {
        $(pub async fn $method(&self, request: $request) -> Result<$response, Fault> {
            Ok(self.client.clone().$method(self.person.token.request(request)).await?.into_inner())
        })*
    };
}

impl Caller {
    pub fn new(person: Person, instance: &Instance) -> Self {
        Self { person, client: ConversationServiceClient::new(instance.transport()) }
    }

    calls! {
        create_conversation(pb::CreateConversationRequest) -> pb::CreateConversationResponse;
        list_conversations(pb::ListConversationsRequest) -> pb::ListConversationsResponse;
        update_conversation(pb::UpdateConversationRequest) -> pb::Conversation;
        list_messages(pb::ListMessagesRequest) -> pb::ListMessagesResponse;
        search(pb::SearchRequest) -> pb::SearchResponse;
        create_persona(pb::CreatePersonaRequest) -> pb::CreatePersonaResponse;
        update_persona(pb::UpdatePersonaRequest) -> pb::Persona;
    }

    pub async fn new_persona(&self, request: pb::CreatePersonaRequest) -> pb::Persona {
        self.create_persona(request).await.expect("created").persona.expect("a persona")
    }

    /// A new conversation with the default title.
    pub async fn conversation(&self) -> pb::Conversation {
        self.titled("").await
    }

    pub async fn titled(&self, title: &str) -> pb::Conversation {
        let request = pb::CreateConversationRequest { title: title.to_owned(), ..Default::default() };
        self.create_conversation(request).await.expect("created").conversation.expect("a conversation")
    }

    pub async fn get(&self, id: &str) -> Result<pb::Conversation, Fault> {
        let request = pb::GetConversationRequest { conversation_id: id.to_owned() };
        Ok(self.client.clone().get_conversation(self.person.token.request(request)).await?.into_inner())
    }

    pub async fn delete(&self, id: &str) -> Result<(), Fault> {
        let request = pb::DeleteConversationRequest { conversation_id: id.to_owned() };
        self.client.clone().delete_conversation(self.person.token.request(request)).await?;
        Ok(())
    }

    /// The titles of the whole list, in pages of this length.
    pub async fn titles(&self, limit: u32) -> Vec<String> {
        let (mut titles, mut cursor) = (Vec::new(), String::new());
        loop {
            let request = pb::ListConversationsRequest { limit, cursor };
            let page = self.list_conversations(request).await.expect("a page");
            assert!(page.conversations.len() <= limit as usize);
            titles.extend(page.conversations.into_iter().map(|conversation| conversation.title));
            cursor = page.next_cursor;
            if cursor.is_empty() {
                return titles;
            }
        }
    }

    /// The texts of the newest page of the shown path, of at most 100 messages.
    pub async fn texts(&self, id: &str) -> Vec<String> {
        let request = pb::ListMessagesRequest { conversation_id: id.to_owned(), limit: 100, ..Default::default() };
        let page = self.list_messages(request).await.expect("a page");
        page.messages.into_iter().map(|message| message.content).collect()
    }

    pub async fn select(&self, id: &str, message: &str) -> Result<pb::Conversation, Fault> {
        let request = pb::SelectVersionRequest {
            conversation_id: id.to_owned(),
            message_id: message.to_owned(),
            ..Default::default()
        };
        Ok(self.client.clone().select_version(self.person.token.request(request)).await?.into_inner())
    }

    pub async fn personas(&self) -> Vec<pb::Persona> {
        let request = self.person.token.request(pb::ListPersonasRequest {});
        self.client.clone().list_personas(request).await.expect("a list").into_inner().personas
    }

    pub async fn delete_persona(&self, id: &str) -> Result<(), Fault> {
        let request = pb::DeletePersonaRequest { persona_id: id.to_owned() };
        self.client.clone().delete_persona(self.person.token.request(request)).await?;
        Ok(())
    }

    pub async fn export(&self, id: &str, format: pb::ExportFormat) -> Result<Vec<pb::ExportPart>, Fault> {
        let request = pb::ExportRequest { conversation_id: id.to_owned(), format: format.into() };
        let parts = self.client.clone().export(self.person.token.request(request)).await?.into_inner();
        Ok(parts.collect::<Result<Vec<_>, _>>().await?)
    }

    pub async fn export_all(&self, request: pb::ExportAllRequest) -> Result<Vec<pb::ExportPart>, Fault> {
        let parts = self.client.clone().export_all(self.person.token.request(request)).await?.into_inner();
        Ok(parts.collect::<Result<Vec<_>, _>>().await?)
    }
}

/// A message as a row.
pub struct Row<'a> {
    pub conversation: &'a str,
    /// Empty: the first one.
    pub parent: &'a str,
    pub role: &'a str,
    pub version: i64,
    pub content: &'a str,
}

impl World {
    /// Stores a message a millisecond after the one before, and shows it.
    pub async fn store(&self, row: Row<'_>) -> String {
        self.store_all(row.conversation, &[row]).await.remove(0)
    }

    /// Stores a conversation's messages `0`, `1`…, of the user and the assistant in turn. Returns their ids.
    pub async fn talk(&self, conversation: &str, messages: usize) -> Vec<String> {
        let contents: Vec<_> = (0..messages).map(|n| n.to_string()).collect();
        let row = |(n, content): (usize, &'_ String)| (["user", "assistant"][n % 2], content.clone());
        let rows: Vec<_> = contents.iter().enumerate().map(row).collect();
        let rows = rows.iter().map(|(role, content)| Row { conversation, parent: "-", role, version: 1, content });
        self.store_all(conversation, &rows.collect::<Vec<_>>()).await
    }

    /// The parent `-` is the message before.
    async fn store_all(&self, conversation: &str, messages: &[Row<'_>]) -> Vec<String> {
        let mut connection = AnyConnection::connect(self.database().url()).await.expect("the database");
        let mut ids: Vec<String> = Vec::with_capacity(messages.len());
        for part in turnpike_store::parts(messages, 512) {
            let sql =
                "INSERT INTO messages (id, conversation_id, parent_id, role, version, content, state, created_at)";
            let sql = format!("{sql} VALUES {}", turnpike_store::rows(part.len(), &[""; 8]));
            let mut insert = sqlx::query(sqlx::AssertSqlSafe(sql));
            for row in part {
                self.hand.advance(Duration::from_millis(1));
                let now = self.clock.now();
                let parent =
                    if row.parent == "-" { ids.last().cloned().unwrap_or_default() } else { row.parent.to_owned() };
                ids.push(MessageId::new(now).to_string());
                insert = insert.bind(ids.last().cloned()).bind(row.conversation.to_owned()).bind(parent);
                insert = insert.bind(row.role.to_owned()).bind(row.version).bind(row.content.to_owned());
                insert = insert.bind("complete").bind(now.as_microsecond());
            }
            insert.execute(&mut connection).await.expect("stored");
        }
        sqlx::query("UPDATE conversations SET leaf_id = $1, updated_at = $2 WHERE id = $3")
            .bind(ids.last().cloned())
            .bind(self.clock.now().as_microsecond())
            .bind(conversation.to_owned())
            .execute(&mut connection)
            .await
            .expect("stored");
        ids
    }

    /// A number from the database.
    pub async fn count(&self, sql: &str) -> i64 {
        let mut connection = AnyConnection::connect(self.database().url()).await.expect("the database");
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await.expect("a number")
    }

    /// Executes SQL, as another instance would.
    pub async fn execute(&self, sql: &str) {
        let mut connection = AnyConnection::connect(self.database().url()).await.expect("the database");
        sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.expect("good SQL");
    }
}
