//! The owner of topics: authorization and archives.

use turnpike_event::CommandState;
use turnpike_fault::Kind;
use turnpike_proto::topic::v1::{Archive, AuthorizeResponse, ReadArchiveRequest, ReadArchiveResponse};
use turnpike_testkit::Database;
use turnpike_token::Role;
use turnpike_topic::{Topic, UserId};
use uuid::Uuid;

use crate::{
    caller::{MOTOR, archive_of},
    world::World,
};

turnpike_testkit::on_both!(
    the_owner_says_how_much_of_a_command_is_archived,
    the_topic_of_a_vehicle_is_for_every_user_and_has_no_archive,
    topics_of_other_services_are_not_found,
);

async fn the_owner_says_how_much_of_a_command_is_archived(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Operator).at(&instance);
    let id = caller.send("ReadDTC", MOTOR).await;
    world.script.has(id).await;
    let name = Topic::Response(id).to_string();

    let open = caller.authorize(&name).await.expect("the caller's own");
    assert_eq!(open.archive(), Archive::Open);
    world.answer(id, 1).await.expect("open");
    world.say(id, CommandState::Completed).await.expect("open");
    caller.end(id).await;

    let topic = world.topic(id).await;
    let ended = caller.authorize(&name).await.expect("the caller's own");
    assert_eq!((ended.archive(), ended.first), (Archive::Complete, topic[0].offset.to_string()));
    let page = caller.archive(ReadArchiveRequest { limit: 2, ..archive_of(id) }).await.expect("a page");
    assert_eq!((page.events.len(), page.complete), (2, true));
    assert_eq!(page.head, topic.last().expect("a final event").offset.to_string());
    let rest = ReadArchiveRequest { after: page.events[1].offset.clone(), ..archive_of(id) };
    let rest = caller.archive(rest).await.expect("a page");
    assert_eq!(rest.events.len(), topic.len() - 2);
    assert!(rest.events.last().is_some_and(|event| event.r#final));
    assert_eq!(rest.events.last().map(|event| &event.offset), Some(&rest.head));
    let end = caller.archive(ReadArchiveRequest { after: rest.head.clone(), ..archive_of(id) }).await.expect("a page");
    assert_eq!(end, ReadArchiveResponse { events: Vec::new(), head: rest.head, complete: true });
}

async fn the_topic_of_a_vehicle_is_for_every_user_and_has_no_archive(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::User).at(&instance);
    let topic = format!("vehicle:{}", caller.vehicle().await);
    let expected = AuthorizeResponse { archive: Archive::None.into(), first: String::new() };
    assert_eq!(caller.authorize(&topic).await.expect("a vehicle"), expected);
    let read = ReadArchiveRequest { topic, ..Default::default() };
    assert_eq!(caller.archive(read.clone()).await.expect("no events"), ReadArchiveResponse::default());
    let behind = caller.archive(ReadArchiveRequest { after: "7-1".into(), ..read }).await.expect_err("not archived");
    assert_eq!(behind.kind(), Kind::NotFound);
}

async fn topics_of_other_services_are_not_found(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Admin).at(&instance);
    let unknown = Uuid::from_u128(1);
    for topic in [
        Topic::User(caller.person.user_id),
        Topic::User(UserId::from(unknown)),
        Topic::Sessions,
        Topic::Room(unknown.into()),
        Topic::Response(unknown.into()),
        Topic::Vehicle(unknown.into()),
    ] {
        let refused = caller.authorize(&topic.to_string()).await.expect_err("not found");
        assert_eq!(refused.kind(), Kind::NotFound, "{topic}");
        let read = ReadArchiveRequest { topic: topic.to_string(), ..Default::default() };
        assert_eq!(caller.archive(read).await.expect_err("not found"), refused, "{topic}");
    }
    for name in ["", "response", "response:1", "user:"] {
        let refused = caller.authorize(name).await.expect_err("not the name of a topic");
        assert_eq!(refused.kind(), Kind::Validation, "{name:?}");
    }
}
