//! Connectors that stop, restart, cannot be reached, or are faster than their streams of vehicles.

use std::time::Duration;

use tonic::Code;
use turnpike_event::CommandState;
use turnpike_testkit::{Database, eventually};
use turnpike_token::Role;

use crate::{
    caller::{MOTOR, State},
    script::OnExecute,
    world::World,
};

turnpike_testkit::on_both!(
    commands_of_an_ended_incarnation_end_promptly,
    commands_continue_after_a_connector_was_unreachable,
    a_new_incarnation_may_accept_before_the_old_one_is_seen_to_end,
    a_read_is_dispatched_again_within_its_deadline,
    a_command_that_may_have_run_is_dispatched_again_only_if_that_is_safe,
);

async fn commands_of_an_ended_incarnation_end_promptly(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Engineer).at(&instance);
    let mut ids = Vec::new();
    for name in ["ReadDTC", "ClearDTC", "ECUReset"] {
        let id = caller.send(name, MOTOR).await;
        world.script.has(id).await;
        world.say(id, CommandState::InProgress).await.expect("open");
        caller.until(id, State::InProgress).await;
        ids.push(id);
    }
    world.script.die();
    world.script.revive("incarnation 2");
    for (id, state) in ids.into_iter().zip([State::Failed, State::Unknown, State::Unknown]) {
        // The clock does not advance: no deadline passes.
        let end = caller.end(id).await;
        assert_eq!((end.state(), end.error_code.as_str()), (state, "CONNECTOR_LOST"));
        let last = if state == State::Failed { "failed." } else { "unknown." };
        assert_eq!(caller.summary(&world, id).await, ["pending", "in_progress", "error CONNECTOR_LOST", last]);
        world.say(id, CommandState::Completed).await.expect_err("closed");
        assert_eq!(world.script.times(id), 1);
    }
    assert_eq!(caller.try_send("ECUReset", MOTOR).await.map(|_| ()), Ok(()), "the control unit is free again");
}

async fn commands_continue_after_a_connector_was_unreachable(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Engineer).at(&instance);
    let id = caller.send("ECUReset", MOTOR).await;
    world.script.has(id).await;
    world.say(id, CommandState::InProgress).await.expect("open");
    caller.until(id, State::InProgress).await;
    let connected = async |wanted: bool| {
        eventually("the fleet", 10, || async {
            let vehicles = caller.vehicles().await;
            vehicles.iter().all(|vehicle| (vehicle.connection_status == 1) == wanted).then_some(())
        })
        .await;
    };
    world.script.die();
    connected(false).await;
    world.script.return_unchanged();
    connected(true).await;
    assert_eq!(caller.get(id).await.state(), State::InProgress);
    world.say(id, CommandState::Completed).await.expect("open");
    assert_eq!(caller.end(id).await.state(), State::Completed);
}

async fn a_new_incarnation_may_accept_before_the_old_one_is_seen_to_end(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Engineer).at(&instance);
    world.script.change_unseen("incarnation 2");
    let id = caller.send("ECUReset", MOTOR).await;
    world.script.has(id).await;
    world.say(id, CommandState::InProgress).await.expect("open");
    caller.until(id, State::InProgress).await;
    world.script.revive("incarnation 2");
    world.answer(id, 1).await.expect("open");
    eventually("the answer", 10, || async { (caller.archived(id).await.len() == 3).then_some(()) }).await;
    assert_eq!(caller.get(id).await.state(), State::InProgress, "it runs in the incarnation that accepted it");
    // The next incarnation ends it.
    world.script.die();
    world.script.revive("incarnation 3");
    assert_eq!(caller.end(id).await.error_code, "CONNECTOR_LOST");
}

async fn a_read_is_dispatched_again_within_its_deadline(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Operator).at(&instance);
    world.script.on_execute(OnExecute::Refuse(Code::Unavailable));
    let id = caller.send("ReadDTC", MOTOR).await;
    world.script.has_refused(id).await;
    world.script.on_execute(OnExecute::Play);
    assert_eq!(world.pushing(caller.end(id)).await.state(), State::Completed);
    assert_eq!(world.script.times(id), 1);

    // A command of one second is not retried for five seconds.
    world.script.on_execute(OnExecute::Refuse(Code::Unavailable));
    let mut request = caller.request("ReadDTC", MOTOR).await;
    request.timeout_seconds = 1;
    let begun = world.clock.now();
    let id = caller.submit(request).await.expect("accepted").command.expect("one").id.parse().expect("an id");
    world.pushing(caller.end(id)).await;
    assert!(world.clock.now() < begun + Duration::from_secs(3));
}

async fn a_command_that_may_have_run_is_dispatched_again_only_if_that_is_safe(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Engineer).at(&instance);
    // Unreachable: provably nothing ran. ClearDTC is tried again, ECUReset is not.
    world.script.on_execute(OnExecute::Refuse(Code::Unavailable));
    let clear = caller.send("ClearDTC", MOTOR).await;
    let reset = caller.send("ECUReset", MOTOR).await;
    assert_eq!(caller.end(reset).await.state(), State::Rejected);
    world.script.has_refused(clear).await;
    world.script.on_execute(OnExecute::Play);
    assert_eq!(world.pushing(caller.end(clear)).await.state(), State::Completed);
    assert_eq!((world.script.times(clear), world.script.times(reset)), (1, 0));
    // It may have run: neither is tried again.
    world.script.on_execute(OnExecute::Refuse(Code::Internal));
    let clear = caller.send("ClearDTC", MOTOR).await;
    world.script.has_refused(clear).await;
    world.script.on_execute(OnExecute::Play);
    assert_eq!(world.pushing(caller.end(clear)).await.state(), State::TimedOut);
    assert_eq!(world.script.times(clear), 0);
}
