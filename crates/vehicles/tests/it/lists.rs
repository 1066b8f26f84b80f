//! Lists: filters, pages, responses, and the archive after an offset.

use std::time::Duration;

use turnpike_event::CommandState;
use turnpike_proto::{topic::v1::ReadArchiveRequest, vehicle::v1 as pb};
use turnpike_testkit::Database;
use turnpike_token::Role;
use turnpike_topic::CommandId;

use crate::{
    caller::{Caller, MOTOR, archive_of},
    script::{OnExecute, VINS},
    world::World,
};

turnpike_testkit::on_both!(
    commands_by_vehicle_state_and_time,
    pages_of_commands,
    responses_and_events,
    vehicles_by_status_and_text
);

async fn ids(caller: &Caller, request: pb::ListCommandsRequest) -> Vec<String> {
    caller.list(request).await.expect("a list").commands.into_iter().map(|command| command.id).collect()
}

async fn commands_by_vehicle_state_and_time(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Engineer).at(&instance);
    let vehicles = caller.vehicles().await;
    let mut sent = Vec::new();
    for n in 0..4 {
        let request = caller.request("ReadDTC", MOTOR).await;
        let request = pb::SubmitCommandRequest { vehicle_id: vehicles[n % 2].id.clone(), ..request };
        let id: CommandId =
            caller.submit(request).await.expect("accepted").command.expect("one").id.parse().expect("id");
        world.script.has(id).await;
        sent.push(id);
        world.hand.advance(Duration::from_secs(1));
    }
    for (place, end) in [(0, CommandState::Completed), (1, CommandState::Failed), (2, CommandState::InProgress)] {
        world.say(sent[place], end).await.expect("open");
    }
    caller.end(sent[0]).await;
    caller.end(sent[1]).await;
    caller.until(sent[2], pb::CommandState::InProgress).await;
    caller.until(sent[3], pb::CommandState::Dispatched).await;
    world.script.on_execute(OnExecute::Refuse(tonic::Code::FailedPrecondition));
    sent.push(caller.send("ReadDTC", MOTOR).await);
    caller.end(sent[4]).await;

    let some = |places: &[usize]| places.iter().map(|place| sent[*place].to_string()).collect::<Vec<_>>();
    let all = pb::ListCommandsRequest::default;
    assert_eq!(ids(&caller, all()).await, some(&[4, 3, 2, 1, 0]), "newest first");
    let of_first = pb::ListCommandsRequest { vehicle_id: vehicles[0].id.clone(), ..all() };
    assert_eq!(ids(&caller, of_first).await, some(&[4, 2, 0]));
    let of_none = pb::ListCommandsRequest { vehicle_id: "car".to_owned(), ..all() };
    assert!(ids(&caller, of_none).await.is_empty());
    for (status, places) in [
        ("completed", vec![0]),
        ("failed", vec![4, 1]), // clients see rejected as failed
        ("in_progress", vec![2]),
        ("pending", vec![3]), // clients see dispatched as pending
        ("unknown", vec![]),
    ] {
        let request = pb::ListCommandsRequest { status: status.to_owned(), ..all() };
        assert_eq!(ids(&caller, request).await, some(&places), "{status}");
    }
    let at = |second: u64| {
        let at = jiff::Timestamp::from_second(1_763_700_000).expect("in range") + Duration::from_secs(second);
        Some(prost_types::Timestamp { seconds: at.as_second(), nanos: 0 })
    };
    let between = pb::ListCommandsRequest { since: at(1), until: at(3), ..all() };
    assert_eq!(ids(&caller, between).await, some(&[2, 1]), "from the first, before the second");
}

async fn pages_of_commands(database: Database) {
    let world = World::new(database);
    world.script.on_execute(OnExecute::Play);
    let instance = world.start().await;
    let caller = world.person(Role::Operator).at(&instance);
    let send = async || {
        world.hand.advance(Duration::from_millis(1)); // ids are in order by the millisecond
        caller.send("ReadDTC", MOTOR).await
    };
    for _ in 0..7 {
        send().await;
    }
    let mut cursor = String::new();
    let mut pages = Vec::new();
    loop {
        let request = pb::ListCommandsRequest { limit: 3, cursor, ..Default::default() };
        let page = caller.list(request).await.expect("a page");
        pages.push(page.commands.into_iter().map(|command| command.id).collect::<Vec<_>>());
        cursor = page.next_cursor;
        if cursor.is_empty() {
            break;
        }
        send().await; // new commands do not shift the pages
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 1]);
    let all = pages.concat();
    assert!(all.is_sorted_by(|newer, older| newer > older), "{all:?}");
}

async fn responses_and_events(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Operator).at(&instance);
    let id = caller.send("ReadDTC", MOTOR).await;
    world.script.has(id).await;
    world.say(id, CommandState::InProgress).await.expect("open");
    for n in 1..=5 {
        world.answer(id, n).await.expect("open");
    }
    world.say(id, CommandState::Completed).await.expect("open");
    caller.end(id).await;

    let mut numbers = Vec::new();
    let mut cursor = String::new();
    loop {
        let request = pb::ListResponsesRequest { command_id: id.to_string(), limit: 2, cursor };
        let page = caller.responses(request).await.expect("a page");
        assert!(page.responses.len() <= 2);
        for response in page.responses {
            assert_eq!(response.response_json, format!(r#"{{"piece":{}}}"#, response.sequence_number));
            numbers.push(response.sequence_number);
        }
        cursor = page.next_cursor;
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(numbers, [1, 2, 3, 4, 5]);

    let topic = world.topic(id).await;
    for (place, record) in topic.iter().enumerate() {
        let after = record.offset.to_string();
        let request = ReadArchiveRequest { after, limit: 3, ..archive_of(id) };
        let page = caller.archive(request).await.expect("a page");
        let got: Vec<_> = page.events.into_iter().map(|event| event.offset).collect();
        let rest: Vec<_> = topic[place + 1..].iter().take(3).map(|record| record.offset.to_string()).collect();
        assert_eq!(got, rest);
    }
}

async fn vehicles_by_status_and_text(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::User).at(&instance);
    let found = async |search: &str, status: i32| {
        let request = pb::ListVehiclesRequest { search: search.to_owned(), status, ..Default::default() };
        caller.list_vehicles(request).await.expect("a list").vehicles.len()
    };
    assert_eq!(found("", 0).await, 3);
    assert_eq!(found("1m8gdm", 0).await, 1, "in any case");
    assert_eq!(found("volta", 0).await, 3);
    assert_eq!(found("100%_", 0).await, 3, "a wildcard means itself");
    assert_eq!(found("100_%", 0).await, 0);
    assert_eq!(found("\\", 0).await, 0);
    assert_eq!((found("", 1).await, found("", 2).await, found("", 3).await), (3, 0, 0));

    let first = caller.list_vehicles(pb::ListVehiclesRequest { limit: 2, ..Default::default() }).await.expect("a page");
    let cursor = first.next_cursor.clone();
    assert!(!cursor.is_empty());
    let request = pb::ListVehiclesRequest { limit: 2, cursor, ..Default::default() };
    let second = caller.list_vehicles(request).await.expect("a page");
    assert_eq!(second.next_cursor, "");
    let mut vins: Vec<_> = first.vehicles.into_iter().chain(second.vehicles).map(|vehicle| vehicle.vin).collect();
    vins.sort();
    assert_eq!(vins, VINS.iter().copied().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>());
}
