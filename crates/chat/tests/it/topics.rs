//! Who may follow a topic.

use tonic::Code;
use turnpike_proto::topic::v1::{self as pb, topic_owner_client::TopicOwnerClient};
use turnpike_testkit::{Database, on_both};
use turnpike_token::Role;

use crate::world::World;

on_both!(only_topics_of_own_conversations_can_be_followed);

async fn only_topics_of_own_conversations_can_be_followed(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let person = world.person(Role::Admin);
    let mut client = TopicOwnerClient::new(instance.transport());
    for topic in ["conversation:0198c1d2-7a3b-7c4d-8e5f-0123456789ab", "sessions", "answers"] {
        let request = pb::AuthorizeRequest { topic: topic.to_owned() };
        let refused = client.authorize(person.token.request(request)).await.expect_err(topic);
        assert_eq!(refused.code(), Code::NotFound, "{topic}");
    }
    let request = pb::AuthorizeRequest { topic: "not a topic".to_owned() };
    let refused = client.authorize(person.token.request(request)).await.expect_err("not a topic");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(world.topic(uuid::Uuid::nil().into()).await.is_empty());
    world.pushing(async { assert!(instance.tasks() > 0 && !world.database().url().is_empty()) }).await;
    instance.stop().await;
    let again = world.with("TURNPIKE_LLM_SCRIPTED_DELAY_MS", 1).start().await;
    again.kill();
}
