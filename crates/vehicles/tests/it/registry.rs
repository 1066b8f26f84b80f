//! Vehicles connect, disconnect and reconnect; each change is published once, however many services see it.

use std::time::Duration;

use turnpike_bus::{Bus, Limits};
use turnpike_event::{Body, Event, VehicleEvent};
use turnpike_fault::{Fault, Kind};
use turnpike_proto::vehicle::v1 as pb;
use turnpike_testkit::{Database, RedisServer, eventually, within};
use turnpike_token::Role;
use turnpike_topic::{Topic, VehicleId};

use crate::{
    caller::Caller,
    script::{Script, VINS},
    world::World,
};

turnpike_testkit::on_both!(
    vehicles_connect_disconnect_and_reconnect,
    each_change_is_published_once,
    vehicles_of_a_stopped_connector_are_disconnected,
    last_seen_never_goes_back,
    changes_during_a_bus_outage_are_published_after_it,
    any_text_of_a_connector_can_be_stored,
    a_search_ignores_case_in_every_alphabet,
);

async fn until(caller: &Caller, vin: &str, connected: bool) -> pb::Vehicle {
    eventually("a change", 10, || async {
        let vehicle = caller.vehicles().await.into_iter().find(|vehicle| vehicle.vin == vin)?;
        ((vehicle.connection_status() == pb::ConnectionStatus::Connected) == connected).then_some(vehicle)
    })
    .await
}

/// The published events of a vehicle.
async fn summaries(world: &World, vehicle: &pb::Vehicle) -> Vec<&'static str> {
    let id: VehicleId = vehicle.id.parse().expect("an id");
    let records = world.bus.read(&Topic::Vehicle(id), None, 1000).await.expect("a bus").records;
    let word = |body: &Body| match body {
        Body::Vehicle(VehicleEvent::Changed { vehicle_id, connection_status }) => {
            assert_eq!(*vehicle_id, id);
            connection_status.as_str()
        }
        other => panic!("not of a vehicle: {other:?}"),
    };
    records.into_iter().map(|record| word(&Event::from_bytes(record.event).body)).collect()
}

async fn until_published(world: &World, vehicle: &pb::Vehicle, story: &[&str]) {
    eventually("the last change", 10, || async {
        (summaries(world, vehicle).await.len() >= story.len()).then_some(())
    })
    .await;
    assert_eq!(summaries(world, vehicle).await, story);
}

async fn vehicles_connect_disconnect_and_reconnect(database: Database) {
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

    // Each change is published before the next one is made: of two at once, only the last is published.
    let story = ["connected", "disconnected", "connected", "disconnected", "connected"];
    until_published(&world, &seen, &story[..1]).await;
    world.script.connect(VINS[0], false);
    assert_eq!(until(&caller, VINS[0], false).await.id, seen.id);
    until_published(&world, &seen, &story[..2]).await;
    world.script.connect(VINS[0], true);
    assert_eq!(until(&caller, VINS[0], true).await.id, seen.id, "it keeps its id");
    until_published(&world, &seen, &story[..3]).await;
    world.script.remove(VINS[0]);
    until(&caller, VINS[0], false).await;
    until_published(&world, &seen, &story[..4]).await;
    world.script.add(VINS[0]);
    assert_eq!(until(&caller, VINS[0], true).await.id, seen.id);
    until_published(&world, &seen, &story).await;
    assert_eq!(caller.vehicles().await.len(), 3);
}

/// Two services see the same change, one after the other: the second does not publish it again.
async fn each_change_is_published_once(database: Database) {
    let world = World::new(database);
    let other_view = Script::new(world.bus.clone(), world.clock.clone());
    let first = world.start().await;
    let caller = world.person(Role::User).at(&first);
    // A report without a change updates `last_seen_at`, which shows that it was stored.
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
        eventually("the news", 10, || async { (summaries(&world, &vehicle).await.len() == story.len()).then_some(()) })
            .await;
        world.hand.advance(Duration::from_secs(1));
        later.connect(VINS[1], connected);
        other_saw().await;
        assert_eq!(summaries(&world, &vehicle).await, story);
    }
}

async fn vehicles_of_a_stopped_connector_are_disconnected(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::User).at(&instance);
    world.script.die();
    for vin in VINS {
        until(&caller, vin, false).await;
    }
    instance.stop().await;
    // A service that starts while the connector is unreachable does not rely on stored states.
    world.script.revive("incarnation 2");
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

/// Two services store reports of the same vehicle in any order: the one that read the clock earlier can write later.
async fn last_seen_never_goes_back(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::User).at(&instance);
    // As another service whose clock is a second ahead.
    world.execute("UPDATE vehicles SET last_seen_at = last_seen_at + 1000000").await;
    let before = caller.vehicles().await;
    world.script.describe("Volta", "seen again");
    eventually("the sighting", 10, || async {
        caller.vehicles().await.iter().all(|vehicle| vehicle.model == "seen again").then_some(())
    })
    .await;
    let after = caller.vehicles().await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(after.last_seen_at, before.last_seen_at);
    }
    world.script.connect(VINS[0], false);
    let gone = until(&caller, VINS[0], false).await;
    assert_eq!(gone.last_seen_at, before[0].last_seen_at, "also when the status changes");
}

/// While the bus is away, changes are stored at once, and a service that is killed then leaves them to the next one.
async fn changes_during_a_bus_outage_are_published_after_it(database: Database) {
    let mut redis = RedisServer::start(true).await;
    let world = World::on(database, Bus::redis(&redis.url(), Limits::default()).expect("a URL"));
    let first = world.start().await;
    let caller = world.person(Role::User).at(&first);
    let vehicles = caller.vehicles().await;
    for vehicle in &vehicles {
        until_published(&world, vehicle, &["connected"]).await;
    }
    redis.kill();
    // The stream of the connector does not wait for the bus, which times out after two seconds for each event.
    let all = async {
        for vin in VINS {
            world.script.connect(vin, false);
        }
        for vin in VINS {
            until(&caller, vin, false).await;
        }
    };
    within("three changes", 4, all).await;
    world.script.connect(VINS[0], true);
    until(&caller, VINS[0], true).await;
    first.kill();
    redis.restart().await;
    let _second = world.start_alone().await;
    for vehicle in &vehicles {
        let last = if vehicle.vin == VINS[0] { "connected" } else { "disconnected" };
        eventually("the present status", 20, || async {
            world.hand.advance(Duration::from_millis(200)); // the claim of the first service ends
            // A killed Redis can lose the latest events.
            (summaries(&world, vehicle).await.last() == Some(&last)).then_some(())
        })
        .await;
    }
}

async fn any_text_of_a_connector_can_be_stored(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::User).at(&instance);
    world.script.add("V\0IN");
    world.script.describe("Vol\0ta", &"m\u{0}".repeat(200));
    eventually("the new names", 10, || async {
        let vehicles = caller.vehicles().await;
        vehicles.iter().all(|vehicle| vehicle.make == "Vol\u{fffd}ta").then_some(())
    })
    .await;
    let vehicles = caller.vehicles().await;
    assert_eq!(vehicles.len(), 3, "a vehicle that its connector would not know by the stored VIN is ignored");
    assert!(vehicles.iter().all(|vehicle| vehicle.model.chars().count() == 100));
    // The service continues with the next report.
    world.script.connect(VINS[2], false);
    until(&caller, VINS[2], false).await;
}

async fn a_search_ignores_case_in_every_alphabet(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::User).at(&instance);
    let found = async |search: &str| {
        let request = pb::ListVehiclesRequest { search: search.to_owned(), ..Default::default() };
        caller.list_vehicles(request).await.expect("a list").vehicles.len()
    };
    for (make, model, searches) in [
        ("Škoda", "Octavia", vec!["Škoda", "škoda", "ŠKODA", "S\u{30c}KODA", "koda oct"]),
        ("Citroe\u{308}n", "ΔΕΛΤΑ 100%", vec!["citroën", "CITROËN", "δελτα", "0%"]),
        ("УАЗ", "Патриот\\_", vec!["уаз", "ПАТРИОТ", "т\\_"]),
    ] {
        world.script.describe(make, model);
        eventually("the new names", 10, || async { (found(searches[0]).await == 3).then_some(()) }).await;
        for search in searches {
            assert_eq!(found(search).await, 3, "{search}");
        }
        for search in ["skoda", "%", "_", "Škodaa"].iter().filter(|search| !model.contains(**search)) {
            assert_eq!(found(search).await, 0, "{search}");
        }
    }
    // A vehicle that was stored without search text is found after the next start, also if no connector reports it again.
    world.execute("UPDATE vehicles SET search = ''").await;
    world.script.die();
    let again = world.start_alone().await;
    let caller = world.person(Role::User).at(&again);
    let request = pb::ListVehiclesRequest { search: "патриот".to_owned(), ..Default::default() };
    assert_eq!(caller.list_vehicles(request).await.expect("a list").vehicles.len(), 3);
}
