//! Commands that must not run twice: one at a time on each control unit, and each dispatched once.

use turnpike_event::CommandState;
use turnpike_fault::Kind;
use turnpike_proto::vehicle::v1 as pb;
use turnpike_testkit::Database;
use turnpike_token::Role;
use turnpike_topic::CommandId;

use crate::{
    caller::{MOTOR, State},
    script::OnExecute,
    world::World,
};

turnpike_testkit::on_both!(
    a_control_unit_is_busy_until_the_end,
    a_control_unit_is_free_once_the_end_was_seen,
    of_many_unsafe_commands_at_once_one_runs,
    an_unsafe_command_that_may_have_run_is_not_sent_again
);

async fn a_control_unit_is_busy_until_the_end(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Engineer).at(&instance);
    let id = caller.send("RoutineControl", r#"{"ecuAddress":"0x1A","routineId":"0x0203","action":"start"}"#).await;
    // In any notation, and for any user.
    let other = world.person(Role::Admin).at(&instance);
    let fault = other.try_send("ECUReset", r#"{"ecuAddress":"0x1a"}"#).await.expect_err("busy");
    assert_eq!((fault.kind(), fault.code()), (Kind::Conflict, "BUSY"));
    // Other control units, other vehicles, and safe commands.
    other.send("ECUReset", r#"{"ecuAddress":"0x1B"}"#).await;
    other.send("ReadDTC", r#"{"ecuAddress":"0x1A"}"#).await;
    other.send("RoutineControl", r#"{"ecuAddress":"0x1A","routineId":"0x0203","action":"results"}"#).await;
    let elsewhere = other.vehicles().await[1].id.clone();
    let request = other.request("ECUReset", r#"{"ecuAddress":"0x1A"}"#).await;
    other.submit(pb::SubmitCommandRequest { vehicle_id: elsewhere, ..request }).await.expect("another vehicle");

    world.script.has(id).await;
    world.say(id, CommandState::Completed).await.expect("open");
    caller.end(id).await;
    other.send("ECUReset", r#"{"ecuAddress":"0x1A"}"#).await;
}

/// A client sees the end on the topic, which is before the end is archived, and sends the next command at once.
async fn a_control_unit_is_free_once_the_end_was_seen(database: Database) {
    let world = World::new(database);
    let (instance, second) = (world.start().await, world.start().await);
    let person = world.person(Role::Engineer);
    let callers = [person.at(&instance), person.at(&second)];
    let mut running = callers[0].send("ECUReset", MOTOR).await;
    for n in 0..40 {
        world.script.has(running).await;
        assert_eq!(callers[n % 2].try_send("ECUReset", MOTOR).await.expect_err("it runs").code(), "BUSY");
        world.say(running, CommandState::Completed).await.expect("open");
        running = callers[n / 2 % 2].send("ECUReset", MOTOR).await;
    }
}

async fn of_many_unsafe_commands_at_once_one_runs(database: Database) {
    let world = World::new(database);
    let (instance, second) = (world.start().await, world.start().await);
    let person = world.person(Role::Engineer);
    let request = person.at(&instance).request("ECUReset", MOTOR).await;
    let calls: Vec<_> = (0..30)
        .map(|n| {
            let (caller, request) = (person.at(if n % 2 == 0 { &instance } else { &second }), request.clone());
            tokio::spawn(async move { caller.submit(request).await })
        })
        .collect();
    let mut accepted = 0;
    for call in calls {
        match call.await.expect("no panic") {
            Ok(_) => accepted += 1,
            Err(fault) => assert_eq!(fault.code(), "BUSY"),
        }
    }
    assert_eq!(accepted, 1);
}

async fn an_unsafe_command_that_may_have_run_is_not_sent_again(database: Database) {
    use tonic::Code;
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Engineer).at(&instance);
    let send = async || {
        let request = caller.request("ECUReset", MOTOR).await;
        let request = pb::SubmitCommandRequest { timeout_seconds: 5, ..request };
        let command = caller.submit(request).await.expect("accepted").command.expect("a command");
        command.id.parse::<CommandId>().expect("an id")
    };
    // After these answers it is not known whether the command ran.
    for code in [Code::Unknown, Code::Internal, Code::DeadlineExceeded, Code::Cancelled] {
        world.script.on_execute(OnExecute::Refuse(code));
        let id = send().await;
        let end = world.pushing(caller.end(id)).await;
        assert_eq!(end.state(), State::Unknown, "{code:?}");
        assert_eq!(caller.summary(&world, id).await, ["pending", "unknown."]);
    }
    // The answer is lost: the connector has the command once.
    world.script.on_execute(OnExecute::Mute);
    let id = send().await;
    world.script.has(id).await;
    assert_eq!(world.pushing(caller.end(id)).await.state(), State::Unknown);
    assert_eq!((world.script.times(id), world.script.total()), (1, 1));
}
