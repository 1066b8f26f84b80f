//! Query plans: no statement of this service reads every row of a table that grows.

use std::time::Duration;

use turnpike_event::CommandState;
use turnpike_proto::{topic::v1::ReadArchiveRequest, vehicle::v1 as pb};
use turnpike_testkit::{Database, Statements, eventually};
use turnpike_token::Role;
use turnpike_topic::Topic;

use crate::{
    caller::{MOTOR, archive_of},
    script::VINS,
    world::World,
};

turnpike_testkit::on_both!(no_statement_reads_a_whole_table);

async fn no_statement_reads_a_whole_table(database: Database) {
    let statements = Statements::capture();
    let world = World::new(database);
    let instance = world.start().await;
    let person = world.person(Role::Operator);
    let (caller, admin) = (person.at(&instance), world.person(Role::Admin).at(&instance));
    let request = pb::SubmitCommandRequest { idempotency_key: "k".into(), ..caller.request("ReadDTC", MOTOR).await };
    caller.submit(request.clone()).await.expect("accepted");
    caller.submit(request).await.expect("replayed");
    let [done, cancelled, left] =
        [caller.send("ReadDTC", MOTOR).await, caller.send("ReadDTC", MOTOR).await, caller.send("ReadDTC", MOTOR).await];
    for id in [done, cancelled, left] {
        world.script.has(id).await;
    }
    world.say(done, CommandState::InProgress).await.expect("open");
    world.answer(done, 1).await.expect("open");
    world.say(done, CommandState::Completed).await.expect("open");
    let end = caller.end(done).await;
    assert_eq!(end.state(), pb::CommandState::Completed);

    let engineer = world.person(Role::Engineer).at(&instance);
    let reset = engineer.send("ECUReset", MOTOR).await;
    world.script.has(reset).await;
    engineer.try_send("ECUReset", MOTOR).await.expect_err("one at a time");
    world.say(reset, CommandState::Completed).await.expect("open");
    engineer.end(reset).await;

    let vehicle = caller.vehicle().await;
    let at = |second: i64| Some(prost_types::Timestamp { seconds: 1_763_700_000 + second, nanos: 0 });
    for caller in [&caller, &admin] {
        for n in 0..32 {
            let one = |bit: usize, text: &str| if n & bit == 0 { String::new() } else { text.to_owned() };
            for status in ["", "completed", "pending"] {
                let request = pb::ListCommandsRequest {
                    vehicle_id: one(1, &vehicle),
                    cursor: one(2, &done.to_string()),
                    since: if n & 4 == 0 { None } else { at(-10) },
                    until: if n & 8 == 0 { None } else { at(10) },
                    status: status.to_owned(),
                    ..Default::default()
                };
                caller.list(request).await.expect("a list");
            }
        }
    }
    let request = pb::ListVehiclesRequest { search: "volta".to_owned(), status: 1, ..Default::default() };
    caller.list_vehicles(request).await.expect("a list");
    let offset = world.topic(done).await[0].offset.to_string();
    caller.archive(ReadArchiveRequest { after: offset, limit: 3, ..archive_of(done) }).await.expect("a page");
    caller.authorize(&Topic::Response(done).to_string()).await.expect("the caller's own");
    caller.authorize(&format!("vehicle:{vehicle}")).await.expect("a vehicle");
    let request = pb::ListResponsesRequest { command_id: done.to_string(), ..Default::default() };
    caller.responses(request).await.expect("a list");
    let cancelling = caller.cancel(cancelled);
    let _ = world.pushing(cancelling).await;

    // Vehicles are disconnected, leases renewed and taken over, and old rows removed.
    world.script.connect(VINS[0], false);
    world.script.remove(VINS[1]);
    instance.kill();
    world.hand.advance(Duration::from_secs(10));
    let second = world.start_alone().await;
    let caller = person.at(&second);
    world.pushing(caller.end(left)).await;
    for _ in 0..4 {
        world.hand.advance(Duration::from_secs(92 * 24 * 3600));
    }
    let later = world.person(Role::Admin).at(&second);
    eventually("the old commands to be removed", 20, || async {
        world.hand.advance(Duration::from_secs(600));
        later.list(pb::ListCommandsRequest::default()).await.expect("a list").commands.is_empty().then_some(())
    })
    .await;
    second.stop().await;

    let wanted = [
        "FROM commands c WHERE",
        "AND c.effect = 'unsafe'",
        "LEFT JOIN command_events oldest",
        "INSERT INTO command_events",
        "UPDATE commands SET lease_until",
        "UPDATE vehicles SET connection_status",
        "DELETE FROM commands",
        "DELETE FROM idempotency_keys",
    ];
    // Lists by id that stop at their limit, and indexes that have only the wanted rows.
    let bounded = ["FROM commands c WHERE 1 = 1 ORDER BY", "WHERE unpublished = 1", "WHERE search = ''"];
    statements.assert_indexed(world.database(), &wanted, &bounded).await;
}
