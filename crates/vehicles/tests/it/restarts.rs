//! Services that stop, are killed, stall, or run at the same time: one of them supervises each command, and each has one end.

use std::time::Duration;

use turnpike_bus::{Bus, Limits};
use turnpike_event::CommandState;
use turnpike_proto::vehicle::v1 as pb;
use turnpike_testkit::{Database, RedisServer, eventually};
use turnpike_token::Role;

use crate::{
    caller::{MOTOR, State},
    outages::until_published,
    script::OnExecute,
    world::{World, freeze},
};

turnpike_testkit::on_both!(
    commands_of_a_stopped_service_are_taken_over_at_once,
    commands_of_a_killed_service_are_taken_over_when_the_lease_ends,
    events_between_two_services_are_archived_once,
    a_deadline_that_passed_between_two_services_holds,
    after_a_takeover_only_an_unanswered_read_is_dispatched_again,
    a_connector_that_stopped_between_two_services_is_noticed,
    two_services_share_the_work,
    leases_that_end_while_events_come,
    a_supervisor_that_lost_its_command_writes_nothing_more,
    a_command_is_not_dispatched_after_its_deadline,
    a_final_event_that_was_not_archived_still_ends_the_command,
    a_different_event_at_an_archived_offset_is_not_dropped,
);

/// How long a lease holds.
const LEASE: Duration = Duration::from_secs(5);

async fn commands_of_a_stopped_service_are_taken_over_at_once(database: Database) {
    let world = World::new(database);
    let first = world.start().await;
    let person = world.person(Role::Engineer);
    let id = person.at(&first).send("ECUReset", MOTOR).await;
    world.script.has(id).await;
    world.say(id, CommandState::InProgress).await.expect("open");
    person.at(&first).until(id, State::InProgress).await;
    first.stop().await;
    world.answer(id, 1).await.expect("open");

    let second = world.start().await;
    let caller = person.at(&second);
    world.say(id, CommandState::Completed).await.expect("open");
    // The clock has not advanced.
    assert_eq!(caller.end(id).await.state(), State::Completed);
    assert_eq!(caller.summary(&world, id).await, ["pending", "in_progress", "response 1", "completed."]);
    assert_eq!(world.script.times(id), 1, "nothing ran twice");
}

async fn commands_of_a_killed_service_are_taken_over_when_the_lease_ends(database: Database) {
    let world = World::new(database);
    let first = world.start().await;
    let second = world.start().await;
    let person = world.person(Role::Engineer);
    let id = person.at(&first).send("ECUReset", MOTOR).await;
    world.script.has(id).await;
    person.at(&first).until(id, State::Dispatched).await;
    first.kill();
    world.say(id, CommandState::Completed).await.expect("open");
    let caller = person.at(&second);
    world.hand.advance(LEASE - Duration::from_secs(1));
    tokio::time::sleep(Duration::from_millis(50)).await; // nothing may happen in this time
    assert_eq!(caller.get(id).await.state(), State::Dispatched, "its lease still holds");
    assert_eq!(world.pushing(caller.end(id)).await.state(), State::Completed);
    assert_eq!(caller.summary(&world, id).await, ["pending", "completed."]);
    assert_eq!(world.script.times(id), 1);
}

async fn events_between_two_services_are_archived_once(database: Database) {
    let world = World::new(database);
    let person = world.person(Role::Operator);
    let mut instance = world.start().await;
    let id = person.at(&instance).send("ReadDTC", MOTOR).await;
    world.script.has(id).await;
    world.say(id, CommandState::InProgress).await.expect("open");
    for n in 1..=12 {
        world.answer(id, n).await.expect("open");
        if n % 3 == 0 {
            // Killed at any point of archiving the events.
            instance.kill();
            world.hand.advance(LEASE - Duration::from_secs(3));
            instance = world.start().await;
        }
    }
    world.say(id, CommandState::Completed).await.expect("open");
    let caller = person.at(&instance);
    assert_eq!(world.pushing(caller.end(id)).await.state(), State::Completed);
    assert_eq!(caller.summary(&world, id).await.len(), 15);
    let request = pb::ListResponsesRequest { command_id: id.to_string(), ..Default::default() };
    let numbers: Vec<_> =
        caller.responses(request).await.expect("a page").responses.iter().map(|r| r.sequence_number).collect();
    assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
}

async fn a_deadline_that_passed_between_two_services_holds(database: Database) {
    let world = World::new(database);
    let first = world.start().await;
    let person = world.person(Role::Engineer);
    let read = person.at(&first).send("ReadDTC", MOTOR).await;
    let reset = person.at(&first).send("ECUReset", MOTOR).await;
    for id in [read, reset] {
        world.script.has(id).await;
        person.at(&first).until(id, State::Dispatched).await;
    }
    first.kill();
    world.hand.advance(Duration::from_secs(3600));
    let second = world.start().await;
    let caller = person.at(&second);
    assert_eq!(caller.end(read).await.state(), State::TimedOut);
    assert_eq!(caller.end(reset).await.state(), State::Unknown);
    assert_eq!(
        (world.script.times(reset), world.script.times(read)),
        (1, 1),
        "nothing is dispatched after the deadline"
    );
}

async fn after_a_takeover_only_an_unanswered_read_is_dispatched_again(database: Database) {
    let world = World::new(database);
    let first = world.start().await;
    let person = world.person(Role::Engineer);
    world.script.on_execute(OnExecute::Mute);
    let mut ids = Vec::new();
    for name in ["ReadDTC", "ClearDTC", "ECUReset"] {
        let id = person.at(&first).send(name, MOTOR).await;
        world.script.has(id).await;
        ids.push(id);
    }
    first.kill();
    world.script.on_execute(OnExecute::Accept);
    world.hand.advance(LEASE + Duration::from_secs(1));
    let second = world.start().await;
    let caller = person.at(&second);
    eventually("the read, again", 10, || async { (world.script.times(ids[0]) == 2).then_some(()) }).await;
    world.say(ids[0], CommandState::Completed).await.expect("open");
    assert_eq!(caller.end(ids[0]).await.state(), State::Completed);
    world.hand.advance(Duration::from_secs(30));
    assert_eq!(caller.end(ids[1]).await.state(), State::TimedOut);
    assert_eq!(caller.end(ids[2]).await.state(), State::Unknown);
    assert_eq!((world.script.times(ids[1]), world.script.times(ids[2])), (1, 1));
}

async fn a_connector_that_stopped_between_two_services_is_noticed(database: Database) {
    let world = World::new(database);
    let first = world.start().await;
    let person = world.person(Role::Engineer);
    let read = person.at(&first).send("ReadDTC", MOTOR).await;
    let reset = person.at(&first).send("ECUReset", MOTOR).await;
    for id in [read, reset] {
        world.script.has(id).await;
        world.say(id, CommandState::InProgress).await.expect("open");
        person.at(&first).until(id, State::InProgress).await;
    }
    first.stop().await;
    world.script.die();
    world.script.revive("incarnation 2");
    let second = world.start().await;
    let caller = person.at(&second);
    let (read, reset) = (caller.end(read).await, caller.end(reset).await);
    assert_eq!((read.state(), read.error_code.as_str()), (State::Failed, "CONNECTOR_LOST"));
    assert_eq!((reset.state(), reset.error_code.as_str()), (State::Unknown, "CONNECTOR_LOST"));
}

async fn two_services_share_the_work(database: Database) {
    let world = World::new(database);
    world.script.on_execute(OnExecute::Play);
    let (first, second) = (world.start().await, world.start().await);
    let person = world.person(Role::Operator);
    let mut ids = Vec::new();
    for n in 0..40 {
        ids.push(person.at(if n % 2 == 0 { &first } else { &second }).send("ReadDTC", MOTOR).await);
        world.hand.advance(Duration::from_millis(700)); // both search for commands without a lease
    }
    for id in ids {
        assert_eq!(person.at(&first).end(id).await.state(), State::Completed);
        assert_eq!(world.script.times(id), 1);
        let story = ["pending", "in_progress", "response 1", "completed."];
        assert_eq!(person.at(&second).summary(&world, id).await, story);
    }
    assert_eq!((first.failed(), second.failed()), (None, None));
}

/// All leases end repeatedly while events arrive: some supervisors lose their command in the middle of archiving.
async fn leases_that_end_while_events_come(database: Database) {
    let world = World::new(database);
    let (first, second) = (world.start().await, world.start().await);
    let person = world.person(Role::Engineer);
    let caller = person.at(&second);
    let mut request = caller.request("ECUReset", MOTOR).await;
    request.timeout_seconds = 3600;
    let id =
        person.at(&first).submit(request).await.expect("accepted").command.expect("one").id.parse().expect("an id");
    world.script.has(id).await;
    world.say(id, CommandState::InProgress).await.expect("open");
    for n in 1..=40 {
        world.answer(id, n).await.expect("open");
        world.hand.advance(LEASE + Duration::from_secs(1));
        for _ in 0..n {
            tokio::task::yield_now().await;
        }
    }
    world.say(id, CommandState::Completed).await.expect("open");
    assert_eq!(world.pushing(caller.end(id)).await.state(), State::Completed);
    assert_eq!(caller.summary(&world, id).await.len(), 43, "every event once, in order");
    assert_eq!(world.script.times(id), 1);
}

/// A supervisor that stalls and continues has lost its command: the fencing token is higher, and its writes are refused.
async fn a_supervisor_that_lost_its_command_writes_nothing_more(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let at_rest = instance.tasks();
    let caller = world.person(Role::Engineer).at(&instance);
    let id = caller.send("ECUReset", MOTOR).await;
    world.script.has(id).await;
    eventually("the first event", 10, || async { (caller.archived(id).await.len() == 1).then_some(()) }).await;
    world.execute("UPDATE commands SET fence = fence + 1, lease_until = 9000000000000000").await;
    world.say(id, CommandState::InProgress).await.expect("open");
    world.say(id, CommandState::Completed).await.expect("open");
    eventually("the supervising task to end", 10, || async { (instance.tasks() <= at_rest).then_some(()) }).await;
    assert_eq!(caller.get(id).await.state(), State::Dispatched);
    assert_eq!(caller.archived(id).await.len(), 1, "the other service archives the rest");
    world.execute("UPDATE commands SET lease_until = 0").await;
    world.hand.advance(Duration::from_secs(1));
    assert_eq!(caller.end(id).await.state(), State::Completed);
    assert_eq!(caller.summary(&world, id).await, ["pending", "in_progress", "completed."]);
}

/// The stored offset is that of the final event, and the final event is not archived.
async fn a_final_event_that_was_not_archived_still_ends_the_command(database: Database) {
    let world = World::new(database);
    let first = world.start().await;
    let person = world.person(Role::Engineer);
    let id = person.at(&first).send("ECUReset", MOTOR).await;
    world.script.has(id).await;
    world.say(id, CommandState::InProgress).await.expect("open");
    person.at(&first).until(id, State::InProgress).await;
    first.kill();
    world.say(id, CommandState::Completed).await.expect("open");
    world.execute("UPDATE commands SET reached = 3, lease_until = 0").await;
    let second = world.start().await;
    let caller = person.at(&second);
    assert_eq!(world.pushing(caller.end(id)).await.state(), State::Completed);
    assert_eq!(caller.summary(&world, id).await, ["pending", "in_progress", "completed."]);
}

async fn a_different_event_at_an_archived_offset_is_not_dropped(database: Database) {
    let world = World::new(database);
    let first = world.start().await;
    let person = world.person(Role::Engineer);
    let id = person.at(&first).send("ECUReset", MOTOR).await;
    world.script.has(id).await;
    world.say(id, CommandState::InProgress).await.expect("open");
    person.at(&first).until(id, State::InProgress).await;
    first.kill();
    let other = "UPDATE command_events SET event = (SELECT e.event FROM command_events e WHERE e.n = 1) WHERE n = 2";
    world.execute(other).await;
    world.execute("UPDATE commands SET reached = 1, lease_until = 0").await;
    world.say(id, CommandState::Completed).await.expect("open");
    let second = world.start().await;
    let caller = person.at(&second);
    assert_eq!(world.pushing(caller.end(id)).await.state(), State::Completed);
    let archived = caller.archived(id).await;
    assert_eq!(archived.len(), 4, "the first two, the other event at the second offset, and the final event");
    let offsets: std::collections::HashSet<_> = archived.iter().map(|event| event.offset.to_string()).collect();
    assert_eq!(offsets.len(), 4, "no offset stands for two events");
}

async fn a_command_is_not_dispatched_after_its_deadline(database: Database) {
    let mut redis = RedisServer::start(false).await;
    let world = World::on(database, Bus::redis(&redis.url(), Limits::default()).expect("a URL"));
    let first = world.start().await;
    let person = world.person(Role::Engineer);
    freeze(&redis).await;
    let id = person.at(&first).send("ECUReset", MOTOR).await;
    assert_eq!(person.at(&first).get(id).await.state(), State::Pending);
    first.kill();
    world.hand.advance(Duration::from_secs(30));
    redis.restart().await;
    let second = world.start().await;
    let caller = person.at(&second);
    let end = world.pushing(caller.end(id)).await;
    assert_eq!((end.state(), world.script.total()), (State::TimedOut, 0));
    until_published(&world, &caller, id, &["pending", "timed_out."]).await;
}
