//! Cancelling commands.

use std::time::Duration;

use turnpike_bus::{Bus, Limits};
use turnpike_event::CommandState;
use turnpike_fault::Kind;
use turnpike_testkit::{Database, RedisServer, eventually, within};
use turnpike_token::Role;

use crate::{
    caller::{MOTOR, State},
    script::{OnCancel, OnExecute},
    world::{World, freeze},
};

turnpike_testkit::on_both!(
    a_running_command_stops,
    a_vehicle_may_refuse,
    a_cancellation_without_an_answer_times_out_after_five_seconds,
    an_ended_command_cannot_be_cancelled,
    a_cancelled_pending_command_is_never_dispatched,
    a_cancel_and_an_answer_race,
    a_cancellation_before_the_acceptance_is_passed_on_after_it,
    a_read_that_is_tried_again_stops_when_it_is_cancelled,
    a_command_that_no_connector_accepts_is_cancelled,
    cancellations_with_one_key_get_one_answer,
);

async fn a_running_command_stops(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Engineer).at(&instance);
    for name in ["ReadDTC", "ECUReset"] {
        let id = caller.send(name, MOTOR).await;
        world.script.has(id).await;
        world.say(id, CommandState::InProgress).await.expect("open");
        let ended = within("the end", 10, caller.cancel(id)).await.expect("it stops");
        assert_eq!(ended.state(), State::Cancelled);
        assert_eq!(caller.summary(&world, id).await, ["pending", "in_progress", "cancelled."]);
    }
}

async fn a_vehicle_may_refuse(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Engineer).at(&instance);
    world.script.on_cancel(OnCancel::Refuse);
    let id = caller.send("ECUReset", MOTOR).await;
    world.script.has(id).await;
    let fault = caller.cancel(id).await.expect_err("it goes on");
    assert_eq!((fault.kind(), fault.code(), fault.detail()), (Kind::Conflict, "CANCEL_REFUSED", "it goes on"));
    world.say(id, CommandState::Completed).await.expect("open");
    assert_eq!(caller.end(id).await.state(), State::Completed);
}

async fn a_cancellation_without_an_answer_times_out_after_five_seconds(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Operator).at(&instance);
    world.script.on_cancel(OnCancel::Ignore);
    let id = caller.send("ReadDTC", MOTOR).await;
    world.script.has(id).await;
    let fault = world.pushing(caller.cancel(id)).await.expect_err("there was no answer");
    assert_eq!(fault.kind(), Kind::Timeout);
    assert_eq!(caller.get(id).await.state(), State::Dispatched, "it may still stop");
    world.say(id, CommandState::Cancelled).await.expect("open");
    assert_eq!(caller.end(id).await.state(), State::Cancelled);
}

async fn an_ended_command_cannot_be_cancelled(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Operator).at(&instance);
    let id = caller.send("ReadDTC", MOTOR).await;
    world.script.has(id).await;
    world.say(id, CommandState::Completed).await.expect("open");
    caller.end(id).await;
    let fault = caller.cancel(id).await.expect_err("too late");
    assert_eq!((fault.kind(), fault.code()), (Kind::Conflict, "ALREADY_ENDED"));
}

/// While the bus does not answer, a command stays pending: it is not dispatched before its topic is open.
async fn a_cancelled_pending_command_is_never_dispatched(database: Database) {
    let mut redis = RedisServer::start(false).await;
    let bus = Bus::redis(&redis.url(), Limits::default()).expect("a URL");
    let world = World::on(database, bus);
    let instance = world.start().await;
    let caller = world.person(Role::Engineer).at(&instance);
    freeze(&redis).await;
    let id = caller.send("ECUReset", MOTOR).await;
    let asking = tokio::spawn({
        let caller = caller.clone();
        async move { caller.cancel(id).await }
    });
    // The second request gets the same answer as the first.
    let fault = world.pushing(caller.cancel(id)).await.expect_err("there is no answer yet");
    assert_eq!(fault.kind(), Kind::Timeout);
    let first = world.pushing(asking).await.expect("no panic"); // it can arrive after the second one
    assert_eq!(first.expect_err("the first has no answer either").kind(), Kind::Timeout);
    assert_eq!(caller.get(id).await.state(), State::Pending);
    redis.restart().await;
    let end = world.pushing(caller.end(id)).await;
    assert_eq!(end.state(), State::Cancelled);
    assert_eq!(world.script.total(), 0);
    assert_eq!(caller.summary(&world, id).await, ["pending", "cancelled."]);
}

async fn a_cancel_and_an_answer_race(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Operator).at(&instance);
    for round in 0..20 {
        let id = caller.send("ReadDTC", MOTOR).await;
        if round % 2 == 0 {
            world.script.has(id).await;
        }
        let asking = tokio::spawn({
            let caller = caller.clone();
            async move { caller.cancel(id).await }
        });
        for _ in 0..round * 3 {
            tokio::task::yield_now().await;
        }
        let completed = world.say(id, CommandState::Completed).await.is_ok();
        let answer = asking.await.expect("no panic");
        let end = eventually("an end", 10, || async {
            world.hand.advance(Duration::from_millis(10));
            Some(caller.get(id).await).filter(|command| command.completed_at.is_some())
        })
        .await;
        assert_eq!(end.state(), if completed { State::Completed } else { State::Cancelled });
        if let Ok(answer) = answer {
            assert_eq!(answer, end, "each request gets the end of the command");
        }
        let story = caller.summary(&world, id).await;
        assert_eq!(story.iter().filter(|word| word.ends_with('.')).count(), 1, "{story:?}");
    }
}

/// The caller no longer waits when the connector accepts the command: the cancellation is stored.
async fn a_cancellation_before_the_acceptance_is_passed_on_after_it(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Engineer).at(&instance);
    world.script.on_execute(OnExecute::Hold);
    for name in ["ReadDTC", "ECUReset"] {
        let id = caller.send(name, MOTOR).await;
        world.script.has(id).await;
        let asking = tokio::spawn({
            let caller = caller.clone();
            async move { caller.cancel(id).await }
        });
        eventually("the connector to be asked without success", 10, || async {
            (world.script.times_cancelled(id) > 0).then_some(())
        })
        .await;
        world.hand.advance(Duration::from_secs(5));
        assert_eq!(asking.await.expect("no panic").expect_err("there was no answer").kind(), Kind::Timeout);
        world.script.accept(id);
        assert_eq!(caller.end(id).await.state(), State::Cancelled, "{name}");
        assert_eq!(caller.summary(&world, id).await, ["pending", "cancelled."]);
    }
}

async fn a_read_that_is_tried_again_stops_when_it_is_cancelled(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Operator).at(&instance);
    world.script.on_execute(OnExecute::Refuse(tonic::Code::Unavailable));
    let id = caller.send("ReadDTC", MOTOR).await;
    world.script.has_refused(id).await;
    let asking = tokio::spawn({
        let caller = caller.clone();
        async move { caller.cancel(id).await }
    });
    eventually("the connector to be asked without success", 10, || async {
        (world.script.times_cancelled(id) > 0).then_some(())
    })
    .await;
    let ended = world.pushing(asking).await.expect("no panic").expect("it stops");
    assert_eq!(ended.state(), State::Cancelled);
    assert_eq!(caller.summary(&world, id).await, ["pending", "cancelled."]);
    assert_eq!(world.script.times_refused(id), 1, "no second attempt");
}

/// The connector may have the command and does not answer. A command that may run twice ends; for an unsafe command, the connector is
/// asked repeatedly to stop it.
async fn a_command_that_no_connector_accepts_is_cancelled(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Engineer).at(&instance);
    world.script.on_execute(OnExecute::Refuse(tonic::Code::Unknown));
    let id = caller.send("ClearDTC", MOTOR).await;
    world.script.has_refused(id).await;
    let ended = world.pushing(caller.cancel(id)).await.expect("it stops");
    assert_eq!(ended.state(), State::Cancelled);

    let id = caller.send("ECUReset", MOTOR).await;
    world.script.has_refused(id).await;
    let fault = world.pushing(caller.cancel(id)).await.expect_err("there was no answer");
    assert_eq!(fault.kind(), Kind::Timeout);
    world.script.accept(id); // the connector has it after all
    assert_eq!(world.pushing(caller.end(id)).await.state(), State::Cancelled);
}

async fn cancellations_with_one_key_get_one_answer(database: Database) {
    let world = World::new(database);
    let (one, other) = (world.start().await, world.start().await);
    let person = world.person(Role::Operator);
    for round in 0..10 {
        let id = person.at(&one).send("ReadDTC", MOTOR).await;
        world.script.has(id).await;
        person.at(&one).until(id, State::Dispatched).await;
        let requests: Vec<_> = (0..6)
            .map(|request| {
                let caller = person.at(if request % 2 == 0 { &one } else { &other });
                tokio::spawn(async move {
                    for _ in 0..round * request {
                        tokio::task::yield_now().await;
                    }
                    caller.cancel_once(id, &format!("key {round}")).await
                })
            })
            .collect();
        let mut fresh = 0;
        for request in requests {
            let answer = world.pushing(request).await.expect("no panic").expect("the same answer");
            assert_eq!(answer.command.expect("a command").state(), State::Cancelled);
            fresh += usize::from(!answer.replayed);
        }
        assert_eq!(fresh, 1);
        let fault = person.at(&one).cancel_once(id, "another key").await.expect_err("too late");
        assert_eq!(fault.code(), "ALREADY_ENDED");
    }
}
