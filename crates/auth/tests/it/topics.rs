//! The owner of `user:` topics: only that user may follow one, and they have no archive.

use tonic::{Code, Status};
use turnpike_identity::AccessToken;
use turnpike_proto::{
    auth::v1::Role,
    topic::v1::{
        Archive, AuthorizeRequest, AuthorizeResponse, ReadArchiveRequest, ReadArchiveResponse,
        topic_owner_client::TopicOwnerClient,
    },
};
use turnpike_rpc::Transport;
use turnpike_testkit::Database;
use turnpike_topic::Topic;

use crate::harness::{Harness, refused};

turnpike_testkit::on_both!(a_user_may_follow_only_their_own_topic);

async fn a_user_may_follow_only_their_own_topic(database: Database) {
    let harness = Harness::new(&database).await;
    let other = harness.create("ada", Role::Admin).await;
    let admin = harness.admin().await;
    let owner = TopicOwnerClient::new(Transport::direct(harness.service.routes()));

    let own = Topic::User(admin.user_id()).to_string();
    let expected = AuthorizeResponse { archive: Archive::None.into(), first: String::new() };
    assert_eq!(authorize(&owner, &admin.access, &own).await.expect("the caller's own"), expected);
    let read = ReadArchiveRequest { topic: own.clone(), ..Default::default() };
    let page = owner.clone().read_archive(admin.access.request(read.clone())).await.expect("no events").into_inner();
    assert_eq!(page, ReadArchiveResponse::default());
    let behind = ReadArchiveRequest { after: "7-1".into(), ..read.clone() };
    refused(owner.clone().read_archive(admin.access.request(behind)).await, Code::NotFound, "NOT_FOUND");

    for topic in [format!("user:{}", other.id), "sessions".to_owned(), own.replace("user:", "response:")] {
        refused(authorize(&owner, &admin.access, &topic).await, Code::NotFound, "NOT_FOUND");
        let read = ReadArchiveRequest { topic, ..Default::default() };
        refused(owner.clone().read_archive(admin.access.request(read)).await, Code::NotFound, "NOT_FOUND");
    }
    refused(authorize(&owner, &admin.access, "user").await, Code::InvalidArgument, "VALIDATION");
    for wrong in [ReadArchiveRequest { after: "x".into(), ..read.clone() }, ReadArchiveRequest { limit: 1001, ..read }]
    {
        refused(owner.clone().read_archive(admin.access.request(wrong)).await, Code::InvalidArgument, "VALIDATION");
    }
    refused(owner.clone().authorize(AuthorizeRequest { topic: own }).await, Code::Unauthenticated, "UNAUTHENTICATED");
}

async fn authorize(
    owner: &TopicOwnerClient<Transport>,
    token: &AccessToken,
    topic: &str,
) -> Result<AuthorizeResponse, Status> {
    let request = token.request(AuthorizeRequest { topic: topic.to_owned() });
    owner.clone().authorize(request).await.map(tonic::Response::into_inner)
}
