//! Commands from the submission to the end.

use turnpike_bus::{Delivery, From};
use turnpike_event::{Body, CommandEvent, CommandState};
use turnpike_kit::{Environment, Process};
use turnpike_proto::vehicle::v1 as pb;
use turnpike_rpc::Transport;
use turnpike_testkit::{Database, within};
use turnpike_token::Role;
use turnpike_topic::Topic;

use crate::{
    caller::{MOTOR, State},
    script::OnExecute,
    world::World,
};

turnpike_testkit::on_both!(
    every_event_is_archived_with_its_offset,
    a_refusal_is_a_failure_with_its_reason,
    the_mock_answers,
    invalid_events_change_nothing_and_every_final_event_is_an_end,
    a_lost_topic_does_not_change_the_archive,
);

async fn every_event_is_archived_with_its_offset(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Operator).at(&instance);
    let command = caller.try_send("ReadDTC", MOTOR).await.expect("accepted");
    assert_eq!((command.state(), command.effect(), command.timeout_seconds), (State::Pending, pb::Effect::Read, 30));
    assert_eq!(command.user_id, caller.person.user_id.to_string());
    let id = command.id.parse().expect("an id");
    world.script.has(id).await;
    caller.until(id, State::Dispatched).await;

    world.say(id, CommandState::InProgress).await.expect("open");
    caller.until(id, State::InProgress).await;
    world.answer(id, 1).await.expect("open");
    world.answer(id, 2).await.expect("open");
    world.hand.advance(std::time::Duration::from_millis(1500));
    world.say(id, CommandState::Completed).await.expect("open");

    let done = caller.end(id).await;
    assert_eq!((done.state(), done.error_code.as_str()), (State::Completed, ""));
    assert_eq!(done.submitted_at, command.submitted_at);
    let took = done.completed_at.expect("ended").nanos - done.submitted_at.expect("submitted").nanos;
    assert_eq!(took, 500_000_000, "one and a half seconds");
    let story = ["pending", "in_progress", "response 1", "response 2", "completed."];
    assert_eq!(caller.summary(&world, id).await, story);
}

async fn a_refusal_is_a_failure_with_its_reason(database: Database) {
    use tonic::Code;
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Engineer).at(&instance);
    let cases = [
        (Code::FailedPrecondition, "REJECTED"),
        (Code::NotFound, "REJECTED"),
        (Code::InvalidArgument, "REJECTED"),
        (Code::Unavailable, "VEHICLE_UNAVAILABLE"),
    ];
    for (code, reason) in cases {
        world.script.on_execute(OnExecute::Refuse(code));
        for name in ["ECUReset", "ReadDTC", "ClearDTC"] {
            let id = caller.send(name, MOTOR).await;
            // Only a connector that is not available is asked again, after a pause.
            let end = match code {
                Code::Unavailable => world.pushing(caller.end(id)).await,
                _ => caller.end(id).await,
            };
            assert_eq!((end.state(), end.error_code.as_str()), (State::Rejected, reason), "{name} {code:?}");
            assert_eq!(end.error_message, "not today");
            let story = ["pending".to_owned(), format!("error {reason}"), "failed.".to_owned()];
            assert_eq!(caller.summary(&world, id).await, story, "clients see it as failed");
        }
    }
    assert_eq!(world.script.total(), 0);
}

async fn the_mock_answers(database: Database) {
    let world = World::new(database);
    let env = Environment::new([("TURNPIKE_MOCK_DELAY_MS", "0")]).expect("a known name");
    let config = turnpike_mock_vehicle_connector::Config::new(&env).expect("valid");
    let process = Process::new(env, world.clock.clone()).expect("a process");
    let mock = turnpike_mock_vehicle_connector::Service::bind(
        config,
        &process,
        turnpike_mock_vehicle_connector::Deps { bus: world.bus.clone() },
    )
    .await
    .expect("it starts");
    let world = world.with_connector(Transport::direct(mock.routes()));
    let instance = world.start().await;
    let caller = world.person(Role::Engineer).at(&instance);
    let mut vins: Vec<_> = caller.vehicles().await.into_iter().map(|vehicle| vehicle.vin).collect();
    vins.sort();
    assert_eq!(vins, mock.vins());

    let id = caller.send("RoutineControl", r#"{"ecuAddress":"0x11","routineId":"0x0203","action":"start"}"#).await;
    let mut follower = world.bus.follow(Topic::Response(id), From::Start);
    within("the end", 10, async { while follower.next().await != Delivery::Closed {} }).await;
    assert_eq!(caller.end(id).await.state(), State::Completed);
    let story = caller.summary(&world, id).await;
    assert_eq!((story.len(), story[0].as_str(), story[7].as_str()), (8, "pending", "completed."), "{story:?}");
    let id = caller.send("ReadDTC", r#"{"ecuAddress":"0x77"}"#).await;
    assert_eq!(caller.end(id).await.state(), State::Rejected, "there is no such control unit");
}

async fn invalid_events_change_nothing_and_every_final_event_is_an_end(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Engineer).at(&instance);
    let topic = Topic::Response;
    let garbage = || world.event(Body::Unknown(b"\xff\xffnothing of ours".as_slice().into()));

    // Unknown events, duplicates, an end that leaves the topic open, an earlier state; then an end, published twice.
    let id = caller.send("ECUReset", MOTOR).await;
    world.script.has(id).await;
    world.say(id, CommandState::InProgress).await.expect("open");
    world.bus.publish(&topic(id), &garbage().to_bytes()).await.expect("open");
    let open_end = world.event(Body::Command(CommandEvent::Status { command_id: id, state: CommandState::Failed }));
    world.bus.publish(&topic(id), &open_end.to_bytes()).await.expect("open");
    world.answer(id, 1).await.expect("open");
    world.answer(id, 1).await.expect("open");
    world.say(id, CommandState::InProgress).await.expect("open");
    world.say(id, CommandState::Pending).await.expect("open");
    world.say(id, CommandState::Completed).await.expect("open");
    world.say(id, CommandState::Completed).await.expect_err("closed");
    world.say(id, CommandState::Failed).await.expect_err("closed");
    assert_eq!(caller.end(id).await.state(), State::Completed);
    assert_eq!(caller.summary(&world, id).await.len(), 9);

    // A topic that is closed by an event that is no end.
    for last in [
        world.event(Body::Command(CommandEvent::Status { command_id: id, state: CommandState::InProgress })),
        world.event(Body::Command(CommandEvent::Status { command_id: id, state: CommandState::Pending })),
        garbage(),
    ] {
        let id = caller.send("ECUReset", MOTOR).await;
        world.script.has(id).await;
        world.bus.close(&topic(id), &last.to_bytes()).await.expect("open");
        let end = caller.end(id).await;
        assert_eq!(end.state(), State::Unknown, "its end is not known");
        assert!(end.completed_at.expect("ended").seconds >= end.submitted_at.expect("submitted").seconds);
        caller.summary(&world, id).await;
    }
}

async fn a_lost_topic_does_not_change_the_archive(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Operator).at(&instance);
    let id = caller.send("ReadDTC", MOTOR).await;
    world.script.has(id).await;
    world.say(id, CommandState::InProgress).await.expect("open");
    world.answer(id, 1).await.expect("open");
    turnpike_testkit::eventually("three events", 10, || async { (caller.archived(id).await.len() == 3).then_some(()) })
        .await;
    let before = caller.archived(id).await;

    world.bus.forget(&Topic::Response(id)).await.expect("a bus in memory");
    world.answer(id, 2).await.expect("born again");
    world.say(id, CommandState::Completed).await.expect("open");
    assert_eq!(caller.end(id).await.state(), State::Completed);
    let record = caller.archived(id).await;
    assert_eq!(record[..3], before, "archived events stay");
    assert_eq!(record[3..], world.topic(id).await, "then the events of the next epoch");

    // Lost and not created again: the deadline ends the command.
    let id = caller.send("ReadDTC", MOTOR).await;
    world.script.has(id).await;
    world.say(id, CommandState::InProgress).await.expect("open");
    caller.until(id, State::InProgress).await;
    world.bus.forget(&Topic::Response(id)).await.expect("a bus in memory");
    world.hand.advance(std::time::Duration::from_secs(30));
    assert_eq!(caller.end(id).await.state(), State::TimedOut);
    assert_eq!(crate::world::summaries(&caller.archived(id).await), ["pending", "in_progress", "timed_out."]);
}
