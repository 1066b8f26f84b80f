//! Idempotency keys of commands.

use std::{collections::BTreeSet, time::Duration};

use turnpike_event::CommandState;
use turnpike_fault::Kind;
use turnpike_proto::vehicle::v1 as pb;
use turnpike_testkit::Database;
use turnpike_token::Role;

use crate::{caller::MOTOR, world::World};

turnpike_testkit::on_both!(
    a_hundred_requests_with_one_key_are_one_command,
    another_body_is_a_conflict,
    a_repeated_request_gets_the_first_answer,
    a_refused_submission_does_not_use_its_key,
    a_command_is_cancelled_once,
);

async fn keyed(caller: &crate::caller::Caller, name: &str, key: &str) -> pb::SubmitCommandRequest {
    pb::SubmitCommandRequest { idempotency_key: key.to_owned(), ..caller.request(name, MOTOR).await }
}

async fn a_hundred_requests_with_one_key_are_one_command(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let other = world.start().await;
    let person = world.person(Role::Engineer);
    let request = keyed(&person.at(&instance), "ECUReset", "once").await;
    let calls: Vec<_> = (0..100)
        .map(|n| {
            let (caller, request) = (person.at(if n % 2 == 0 { &instance } else { &other }), request.clone());
            tokio::spawn(async move { caller.submit(request).await.expect("accepted") })
        })
        .collect();
    let (mut ids, mut fresh) = (BTreeSet::new(), 0);
    for call in calls {
        let answer = call.await.expect("no panic");
        fresh += usize::from(!answer.replayed);
        ids.insert(answer.command.expect("a command").id);
    }
    assert_eq!((ids.len(), fresh), (1, 1));
    let id = ids.pop_first().expect("one").parse().expect("an id");
    world.script.has(id).await;
    assert_eq!(world.script.total(), 1, "the vehicle receives it once");
}

async fn another_body_is_a_conflict(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Engineer).at(&instance);
    let first = keyed(&caller, "ReadDTC", "key").await;
    caller.submit(first.clone()).await.expect("accepted");
    let mut others = vec![keyed(&caller, "ClearDTC", "key").await];
    others.push(pb::SubmitCommandRequest { timeout_seconds: 31, ..first.clone() });
    others.push(pb::SubmitCommandRequest { params_json: r#"{"ecuAddress":"0x11"}"#.to_owned(), ..first.clone() });
    others.push(pb::SubmitCommandRequest { vehicle_id: caller.vehicles().await[1].id.clone(), ..first.clone() });
    for other in others {
        let fault = caller.submit(other).await.expect_err("another request");
        assert_eq!((fault.kind(), fault.code()), (Kind::Conflict, "IDEMPOTENCY_KEY_REUSED"));
    }
    // The same request in another notation.
    let same = pb::SubmitCommandRequest {
        timeout_seconds: 30,
        params_json: r#"{ "ecuAddress" : "0x10" }"#.into(),
        ..first.clone()
    };
    assert!(caller.submit(same).await.expect("the same").replayed);
    // Each user has keys of their own.
    let stranger = world.person(Role::Engineer).at(&instance);
    assert!(!stranger.submit(first).await.expect("accepted").replayed);
}

async fn a_repeated_request_gets_the_first_answer(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Operator).at(&instance);
    let request = keyed(&caller, "ReadDTC", "key").await;
    let first = caller.submit(request.clone()).await.expect("accepted");
    assert!(!first.replayed);
    let id = first.command.as_ref().expect("a command").id.parse().expect("an id");
    world.script.has(id).await;
    world.say(id, CommandState::Completed).await.expect("open");
    caller.end(id).await;
    let again = caller.submit(request.clone()).await.expect("accepted");
    assert!(again.replayed);
    assert_eq!(again.command, first.command);

    world.hand.advance(Duration::from_secs(24 * 3600));
    assert!(caller.submit(request.clone()).await.expect("accepted").replayed, "a day");
    world.hand.advance(Duration::from_micros(1));
    let anew = caller.submit(request).await.expect("accepted");
    assert!(!anew.replayed);
    assert_ne!(anew.command.expect("a command").id, id.to_string());
}

async fn a_refused_submission_does_not_use_its_key(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Engineer).at(&instance);
    let running = caller.send("ECUReset", MOTOR).await;
    let request = keyed(&caller, "ECUReset", "key").await;
    assert_eq!(caller.submit(request.clone()).await.expect_err("busy").code(), "BUSY");
    world.script.has(running).await;
    world.say(running, CommandState::Completed).await.expect("open");
    caller.end(running).await;
    assert!(!caller.submit(request).await.expect("accepted").replayed);
}

async fn a_command_is_cancelled_once(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Operator).at(&instance);
    let (id, other) = (caller.send("ReadDTC", MOTOR).await, caller.send("ReadDTC", MOTOR).await);
    world.script.has(id).await;
    world.script.has(other).await;
    let first = caller.cancel_once(id, "key").await.expect("cancelled");
    let again = caller.cancel_once(id, "key").await.expect("as before");
    assert_eq!((first.replayed, again.replayed, &first.command), (false, true, &again.command));
    assert_eq!(caller.cancel_once(other, "key").await.expect_err("another").code(), "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(caller.cancel_once(id, "another key").await.expect_err("it is over").code(), "ALREADY_ENDED");
}
