//! Deadlines and ends while the bus accepts nothing, and events that the database refuses: every command ends in time, is shown as
//! ended, and its followers receive the end as soon as possible.

use std::time::Duration;

use futures_util::future::join_all;
use turnpike_bus::{Bus, Limits};
use turnpike_event::{Body, CommandEvent, CommandState, Json};
use turnpike_testkit::{Database, RedisServer, eventually};
use turnpike_token::Role;
use turnpike_topic::{CommandId, Topic};

use crate::{
    caller::{Caller, MOTOR, State},
    script::OnExecute,
    world::{World, fill},
};

turnpike_testkit::on_both!(
    a_deadline_holds_before_the_topic_is_open,
    a_command_that_is_taken_over_before_its_topic_is_open_has_one_first_event,
    a_deadline_holds_while_the_bus_is_unavailable,
    a_declared_end_is_published_by_the_next_service,
    a_declared_end_is_stored_while_the_bus_is_unavailable,
    an_event_that_the_database_refuses_ends_the_command,
    a_database_that_refuses_every_event_keeps_no_command_open,
    any_text_of_a_connector_can_be_archived,
);

const TIMEOUT: Duration = Duration::from_secs(30);

/// Sends a command to a vehicle while Redis refuses writes.
async fn send_while_full(redis: &RedisServer, caller: &Caller, name: &str) -> CommandId {
    eventually("a command that is accepted just before the outage is known", 20, || async {
        fill(redis, true).await;
        match caller.try_send(name, MOTOR).await {
            Ok(command) => Some(command.id.parse().expect("an id")),
            Err(_) => {
                fill(redis, false).await;
                tokio::time::sleep(Duration::from_millis(500)).await;
                None
            }
        }
    })
    .await
}

/// Waits until a command's topic has ended and is archived.
pub async fn until_published(world: &World, caller: &Caller, id: CommandId, story: &[&str]) {
    let whole = async {
        eventually("the end of the topic", 20, || async {
            let topic = world.bus.read(&Topic::Response(id), None, 1000).await.ok()?.records;
            let ended = topic.last().is_some_and(|last| last.is_final);
            (ended && caller.archived(id).await.len() == topic.len()).then_some(())
        })
        .await;
    };
    world.pushing(whole).await;
    assert_eq!(caller.summary(world, id).await, story);
}

async fn a_deadline_holds_before_the_topic_is_open(database: Database) {
    let redis = RedisServer::start(false).await;
    let world = World::on(database, Bus::redis(&redis.url(), Limits::default()).expect("a URL"));
    let instance = world.start().await;
    let caller = world.person(Role::Engineer).at(&instance);
    let id = send_while_full(&redis, &caller, "ECUReset").await;
    assert_eq!(caller.get(id).await.state(), State::Pending);
    let end = world.pushing(caller.end(id)).await;
    assert_eq!(end.state(), State::TimedOut, "nothing was sent to the connector");
    fill(&redis, false).await;
    until_published(&world, &caller, id, &["pending", "timed_out."]).await;
    assert_eq!(caller.get(id).await, end, "the end has not changed");
    assert_eq!(world.script.total(), 0);
}

/// After a takeover two supervisors can wait for the bus at the same time, until the earlier one finds its lease lost.
async fn a_command_that_is_taken_over_before_its_topic_is_open_has_one_first_event(database: Database) {
    let redis = RedisServer::start(false).await;
    let world = World::on(database, Bus::redis(&redis.url(), Limits::default()).expect("a URL"));
    let instance = world.start().await;
    let caller = world.person(Role::Engineer).at(&instance);
    let mut ids = vec![send_while_full(&redis, &caller, "ReadDTC").await];
    for sent in join_all((0..8).map(|_| caller.try_send("ReadDTC", MOTOR))).await {
        // The service refuses commands once it has found out that the bus is down.
        ids.extend(sent.ok().map(|command| command.id.parse::<CommandId>().expect("an id")));
    }
    // Another instance has taken them over and has stopped. Then this one takes them over from itself.
    world.execute("UPDATE commands SET fence = fence + 1, lease_until = 0").await;
    let taken_over = async || world.count("SELECT COUNT(*) FROM commands WHERE fence = 2").await == 0;
    world.pushing(eventually("the takeover", 10, || async { taken_over().await.then_some(()) })).await;
    fill(&redis, false).await;
    world.hand.advance(Duration::from_secs(1)); // both supervisors try again
    for id in ids {
        until_published(&world, &caller, id, &["pending", "timed_out."]).await;
    }
}

async fn a_deadline_holds_while_the_bus_is_unavailable(database: Database) {
    let mut redis = RedisServer::start(true).await;
    let world = World::on(database, Bus::redis(&redis.url(), Limits::default()).expect("a URL"));
    let instance = world.start().await;
    let caller = world.person(Role::Engineer).at(&instance);
    let mut ids = Vec::new();
    for name in ["ReadDTC", "ECUReset"] {
        let id = caller.send(name, MOTOR).await;
        world.script.has(id).await;
        world.say(id, CommandState::InProgress).await.expect("open");
        caller.until(id, State::InProgress).await;
        ids.push(id);
    }
    redis.kill();
    world.hand.advance(TIMEOUT);
    let ends = [State::TimedOut, State::Unknown];
    for (id, end) in ids.iter().zip(ends) {
        assert_eq!(world.pushing(caller.end(*id)).await.state(), end);
        let fault = caller.cancel(*id).await.expect_err("it has ended");
        assert_eq!(fault.code(), "ALREADY_ENDED");
    }
    redis.restart().await;
    for (id, end) in ids.iter().zip(["timed_out.", "unknown."]) {
        until_published(&world, &caller, *id, &["pending", "in_progress", end]).await;
    }
    for (id, end) in ids.iter().zip(ends) {
        assert_eq!(caller.get(*id).await.state(), end);
    }
}

async fn a_declared_end_is_published_by_the_next_service(database: Database) {
    let redis = RedisServer::start(false).await;
    let world = World::on(database, Bus::redis(&redis.url(), Limits::default()).expect("a URL"));
    let first = world.start().await;
    let person = world.person(Role::Engineer);
    let id = send_while_full(&redis, &person.at(&first), "ReadDTC").await;
    world.hand.advance(TIMEOUT);
    let end = person.at(&first).end(id).await;
    first.kill();
    fill(&redis, false).await;
    let second = world.start_alone().await;
    let caller = person.at(&second);
    assert_eq!(caller.get(id).await, end);
    until_published(&world, &caller, id, &["pending", "timed_out."]).await;
    assert_eq!(caller.get(id).await, end);
    assert_eq!(world.script.total(), 0, "nothing is dispatched after the end");
}

async fn a_declared_end_is_stored_while_the_bus_is_unavailable(database: Database) {
    let mut redis = RedisServer::start(true).await;
    let world = World::on(database, Bus::redis(&redis.url(), Limits::default()).expect("a URL"));
    let first = world.start().await;
    let person = world.person(Role::Engineer);
    world.script.on_execute(OnExecute::Hold);
    let id = person.at(&first).send("ECUReset", MOTOR).await;
    world.script.has(id).await;
    person.at(&first).until(id, State::Dispatched).await;
    redis.kill();
    // The connector comes back as another incarnation, long before the deadline.
    world.script.accept(id);
    eventually("the acceptance", 10, || async {
        world.script.die();
        world.script.revive("incarnation 2");
        let seen = person.at(&first).vehicles().await.iter().all(|vehicle| vehicle.connection_status == 1);
        seen.then_some(())
    })
    .await;
    let end = world.pushing(person.at(&first).end(id)).await;
    assert_eq!((end.state(), end.error_code.as_str()), (State::Unknown, "CONNECTOR_LOST"));
    first.kill();
    redis.restart().await;
    let second = world.start_alone().await;
    let caller = person.at(&second);
    until_published(&world, &caller, id, &["pending", "error CONNECTOR_LOST", "unknown."]).await;
    assert_eq!(caller.get(id).await, end);
}

/// Makes the database refuse events permanently, for a reason that the service cannot check.
async fn refuse_events(world: &World, only_the_second: bool) {
    world
        .execute(match (world.on_postgres(), only_the_second) {
            (true, true) => {
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                     'BEGIN RAISE EXCEPTION ''refused'' USING ERRCODE = ''22021''; END';
                 CREATE TRIGGER refuse BEFORE INSERT ON command_events FOR EACH ROW WHEN (NEW.n = 2)
                     EXECUTE FUNCTION refuse()"
            }
            (true, false) => {
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                     'BEGIN RAISE EXCEPTION ''refused'' USING ERRCODE = ''22021''; END';
                 CREATE TRIGGER refuse BEFORE INSERT ON command_events FOR EACH ROW EXECUTE FUNCTION refuse()"
            }
            (false, true) => {
                "CREATE TRIGGER refuse BEFORE INSERT ON command_events WHEN NEW.n = 2
                 BEGIN SELECT RAISE(ABORT, 'refused'); END"
            }
            (false, false) => {
                "CREATE TRIGGER refuse BEFORE INSERT ON command_events BEGIN SELECT RAISE(ABORT, 'refused'); END"
            }
        })
        .await;
}

async fn an_event_that_the_database_refuses_ends_the_command(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let at_rest = instance.tasks();
    let caller = world.person(Role::Engineer).at(&instance);
    refuse_events(&world, true).await;
    for (name, end, word) in [("ReadDTC", State::Failed, "failed."), ("ECUReset", State::Unknown, "unknown.")] {
        let id = caller.send(name, MOTOR).await;
        world.script.has(id).await;
        world.say(id, CommandState::InProgress).await.expect("open");
        let ended = caller.end(id).await;
        assert_eq!((ended.state(), ended.error_code.as_str()), (end, "EVENT_NOT_RECORDED"));
        let published = crate::world::summaries(&world.topic(id).await);
        assert_eq!(published, ["pending", "in_progress", "error EVENT_NOT_RECORDED", word]);
        assert_eq!(caller.archived(id).await.len(), 3, "every other event is archived");
    }
    eventually("the supervising tasks to end", 10, || async { (instance.tasks() <= at_rest).then_some(()) }).await;
}

async fn a_database_that_refuses_every_event_keeps_no_command_open(database: Database) {
    let world = World::new(database);
    let first = world.start().await;
    let person = world.person(Role::Engineer);
    refuse_events(&world, false).await;
    let id = person.at(&first).send("ReadDTC", MOTOR).await;
    let end = person.at(&first).end(id).await;
    assert_eq!((end.state(), end.error_code.as_str()), (State::Failed, "EVENT_NOT_RECORDED"));
    let published = crate::world::summaries(&world.topic(id).await);
    assert_eq!(published, ["pending", "error EVENT_NOT_RECORDED", "failed."], "followers receive the same end");
    first.kill();
    // A restart does not supervise it again.
    let second = world.start().await;
    let at_rest = second.tasks();
    world.hand.advance(Duration::from_secs(60));
    let other = person.at(&second).send("ReadDTC", MOTOR).await;
    person.at(&second).end(other).await;
    eventually("no supervising task", 10, || async { (second.tasks() <= at_rest).then_some(()) }).await;
    assert_eq!(person.at(&second).get(id).await, end);
}

async fn any_text_of_a_connector_can_be_archived(database: Database) {
    let world = World::new(database);
    world.script.revive("incarnation\0 1");
    let instance = world.start().await;
    let caller = world.person(Role::Engineer).at(&instance);
    for text in ["\0", "a\0b", "\u{1}\u{7f}\u{85}", "\u{fffe}\u{10ffff}", "'; --", "\\u0000", &"é".repeat(5000)] {
        let id = caller.send("ReadDTC", MOTOR).await;
        world.script.has(id).await;
        let json = serde_json::json!({ text: text, "deep": [{ text: [text] }] }).to_string();
        let bodies = [
            Body::Command(CommandEvent::Response {
                command_id: id,
                sequence_number: 1,
                is_final: false,
                response: Json::parse(json.clone()).expect("an object"),
            }),
            Body::Command(CommandEvent::Error {
                command_id: id,
                error_code: text.to_owned(),
                error_message: text.to_owned(),
            }),
        ];
        for body in bodies {
            world.bus.publish(&Topic::Response(id), &world.event(body).to_bytes()).await.expect("open");
        }
        world.say(id, CommandState::Failed).await.expect("open");
        let end = caller.end(id).await;
        assert_eq!(end.state(), State::Failed, "{text:?}");
        assert!(!end.error_code.contains('\0') && !end.error_message.contains('\0'));
        let request = turnpike_proto::vehicle::v1::ListResponsesRequest {
            command_id: id.to_string(),
            ..turnpike_proto::vehicle::v1::ListResponsesRequest::default()
        };
        let responses = caller.responses(request).await.expect("a page").responses;
        assert_eq!(responses.iter().map(|r| r.response_json.as_str()).collect::<Vec<_>>(), [json.as_str()]);
        assert_eq!(caller.archived(id).await, world.topic(id).await, "the archive equals the topic");

        world.script.on_execute(OnExecute::Refuse(tonic::Code::FailedPrecondition));
        world.script.refuse_with(text);
        let id = caller.send("ECUReset", MOTOR).await;
        let end = caller.end(id).await;
        assert_eq!((end.state(), end.error_code.as_str()), (State::Rejected, "REJECTED"), "{text:?}");
        assert!(!end.error_message.contains('\0'));
        world.script.on_execute(OnExecute::Accept);
    }
}
