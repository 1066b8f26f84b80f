//! Limits of commands.

use std::time::Duration;

use turnpike_fault::{Fault, Kind};
use turnpike_proto::vehicle::v1 as pb;
use turnpike_testkit::Database;
use turnpike_token::Role;

use crate::{caller::MOTOR, world::World};

turnpike_testkit::on_both!(
    instances_share_the_limit_of_a_user,
    parallel_commands_do_not_exceed_the_limit,
    only_an_accepted_command_counts,
);

#[track_caller]
fn limited_for<T>(answer: Result<T, Fault>) -> u64 {
    let Err(fault) = answer else { panic!("not refused") };
    assert_eq!((fault.kind(), fault.code()), (Kind::RateLimited, "RATE_LIMITED"), "{fault}");
    fault.retry_in().expect("when to try again").as_secs()
}

async fn instances_share_the_limit_of_a_user(database: Database) {
    let world = World::new(database).with_limit(5);
    let (first, second) = (world.start().await, world.start().await);
    let person = world.person(Role::Operator);
    for n in 0..5 {
        let instance = if n % 2 == 0 { &first } else { &second };
        person.at(instance).try_send("ReadDTC", MOTOR).await.expect("five a minute");
    }
    for instance in [&first, &second] {
        assert_eq!(limited_for(person.at(instance).try_send("ReadDTC", MOTOR).await), 12);
    }
    world.person(Role::Operator).at(&first).try_send("ReadDTC", MOTOR).await.expect("another user");
    first.stop().await;
    let restarted = world.start().await;
    limited_for(person.at(&restarted).try_send("ReadDTC", MOTOR).await);
    world.hand.advance(Duration::from_secs(12));
    person.at(&second).try_send("ReadDTC", MOTOR).await.expect("one each twelve seconds");
    limited_for(person.at(&restarted).try_send("ReadDTC", MOTOR).await);
}

async fn parallel_commands_do_not_exceed_the_limit(database: Database) {
    let world = World::new(database).with_limit(5);
    let (first, second) = (world.start().await, world.start().await);
    let person = world.person(Role::Operator);
    let request = person.at(&first).request("ReadDTC", MOTOR).await;
    let calls: Vec<_> = (0..40)
        .map(|n| {
            let (caller, request) = (person.at(if n % 2 == 0 { &first } else { &second }), request.clone());
            tokio::spawn(async move { caller.submit(request).await })
        })
        .collect();
    let mut accepted = 0;
    for call in calls {
        match call.await.expect("no panic") {
            Ok(_) => accepted += 1,
            refused => {
                limited_for(refused);
            }
        }
    }
    assert_eq!(accepted, 5);
}

async fn only_an_accepted_command_counts(database: Database) {
    let world = World::new(database).with_limit(3);
    let instance = world.start().await;
    let caller = world.person(Role::Engineer).at(&instance);
    let reset = caller.request("ECUReset", MOTOR).await;
    let keyed = |key: &str| pb::SubmitCommandRequest { idempotency_key: key.to_owned(), ..reset.clone() };
    for n in 0..10 {
        let answer = caller.submit(keyed("once")).await.expect("the same command each time");
        assert_eq!(answer.replayed, n > 0);
    }
    for _ in 0..10 {
        assert_eq!(caller.submit(reset.clone()).await.expect_err("one at a time").code(), "BUSY");
        let nowhere = pb::SubmitCommandRequest {
            vehicle_id: uuid::Uuid::now_v7().to_string(),
            ..caller.request("ReadDTC", MOTOR).await
        };
        assert_eq!(caller.submit(nowhere).await.expect_err("no such vehicle").code(), "UNKNOWN_VEHICLE");
    }
    for _ in 0..2 {
        caller.try_send("ReadDTC", MOTOR).await.expect("three a minute");
    }
    let read =
        pb::SubmitCommandRequest { idempotency_key: "later".to_owned(), ..caller.request("ReadDTC", MOTOR).await };
    limited_for(caller.submit(read.clone()).await);
    caller.submit(keyed("once")).await.expect("a repeated request is answered beyond the limit");
    world.hand.advance(Duration::from_secs(20));
    let answer = caller.submit(read).await.expect("a refused command does not use its key");
    assert!(!answer.replayed);
}
