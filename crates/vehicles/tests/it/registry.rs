//! Vehicles come, go and come back; each change is told once, however many services see it.

use std::time::Duration;

use turnpike_event::{Body, Topic, VehicleId};
use turnpike_fault::{Fault, Kind};
use turnpike_proto::vehicle::v1 as pb;
use turnpike_testkit::{Database, eventually};
use turnpike_token::Role;

use crate::{
    caller::Caller,
    script::{Script, VINS},
    world::World,
};

turnpike_testkit::on_both!(
    vehicles_appear_go_and_come_back,
    each_change_is_told_once,
    a_connector_that_dies_loses_its_vehicles
);

async fn until(caller: &Caller, vin: &str, connected: bool) -> pb::Vehicle {
    eventually("a change", 10, || async {
        let vehicle = caller.vehicles().await.into_iter().find(|vehicle| vehicle.vin == vin)?;
        ((vehicle.connection_status() == pb::ConnectionStatus::Connected) == connected).then_some(vehicle)
    })
    .await
}

/// What was told of a vehicle.
async fn told(world: &World, vehicle: &pb::Vehicle) -> Vec<&'static str> {
    let id: VehicleId = vehicle.id.parse().expect("an id");
    let records = world.bus.read(&Topic::Vehicle(id), None, 1000).await.expect("a bus in memory").records;
    let word = |body: &Body| match body {
        Body::VehicleChanged { vehicle_id, connection_status } => {
            assert_eq!(*vehicle_id, id);
            connection_status.as_str()
        }
        other => panic!("not of a vehicle: {other:?}"),
    };
    records.iter().map(|record| word(&record.event.body)).collect()
}

async fn vehicles_appear_go_and_come_back(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::User).at(&instance);
    let seen = until(&caller, VINS[0], true).await;
    assert_eq!((seen.make.as_str(), seen.year, seen.connector.as_str()), ("Volta", 2024, "fleet"));
    assert_eq!(caller.get_vehicle(&seen.id).await.expect("it is there"), seen);
    for id in ["car", "", "00000000-0000-7000-8000-000000000000"] {
        let fault = Fault::from(caller.get_vehicle(id).await.expect_err("there is none"));
        assert_eq!(fault.kind(), Kind::NotFound);
    }

    world.script.connect(VINS[0], false);
    assert_eq!(until(&caller, VINS[0], false).await.id, seen.id);
    world.script.connect(VINS[0], true);
    assert_eq!(until(&caller, VINS[0], true).await.id, seen.id, "it keeps its id");
    world.script.remove(VINS[0]);
    until(&caller, VINS[0], false).await;
    world.script.add(VINS[0]);
    assert_eq!(until(&caller, VINS[0], true).await.id, seen.id);
    let story = ["connected", "disconnected", "connected", "disconnected", "connected"];
    assert_eq!(told(&world, &seen).await, story);
    assert_eq!(caller.vehicles().await.len(), 3);
}

/// Two services see the same, one after the other, each by its own view of the fleet: the second has no news.
async fn each_change_is_told_once(database: Database) {
    let world = World::new(database);
    let other_view = Script::new(world.bus.clone(), world.clock.clone());
    let first = world.start().await;
    let caller = world.person(Role::User).at(&first);
    // What is seen and no news moves "last seen" on, and shows that it was seen.
    let other_saw = async || {
        let now = world.clock.now().as_second();
        eventually("the other service to see it", 10, || async {
            let vehicles = caller.vehicles().await;
            vehicles.iter().all(|v| v.last_seen_at.is_some_and(|at| at.seconds == now)).then_some(())
        })
        .await;
    };
    world.hand.advance(Duration::from_secs(1));
    let _second = world.start_on(other_view.transport()).await;
    other_saw().await;
    let vehicle = until(&caller, VINS[1], true).await;
    let mut story = vec!["connected"];
    for round in 0..6 {
        let connected = round % 2 == 1;
        story.push(if connected { "connected" } else { "disconnected" });
        let (earlier, later) = if round < 3 { (&world.script, &other_view) } else { (&other_view, &world.script) };
        earlier.connect(VINS[1], connected);
        until(&caller, VINS[1], connected).await;
        eventually("the news", 10, || async { (told(&world, &vehicle).await.len() == story.len()).then_some(()) })
            .await;
        world.hand.advance(Duration::from_secs(1));
        later.connect(VINS[1], connected);
        other_saw().await;
        assert_eq!(told(&world, &vehicle).await, story);
    }
}

async fn a_connector_that_dies_loses_its_vehicles(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::User).at(&instance);
    world.script.die();
    for vin in VINS {
        until(&caller, vin, false).await;
    }
    instance.stop().await;
    // A service that starts while it is away believes nothing of what an earlier run believed.
    world.script.revive("life 2");
    let second = world.start().await;
    second.stop().await;
    world.script.die();
    let third = world.start_alone().await;
    let caller = world.person(Role::User).at(&third);
    for vin in VINS {
        until(&caller, vin, false).await;
    }
    assert_eq!(third.failed(), None);
}
