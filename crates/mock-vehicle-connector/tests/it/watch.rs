//! Streams of vehicles.

use turnpike_proto::vehicle::v1 as pb;
use turnpike_testkit::{eventually, within};

use crate::bench::Bench;

impl Bench {
    /// Waits until the first vehicle is shown as connected, or as disconnected.
    pub async fn connected(&self, wanted: bool) {
        eventually("a change", 10, || async {
            let mut stream = self.watch().await;
            let message = stream.message().await.expect("an open stream").expect("a message");
            (is_connected(&message, &self.vins[0]) == wanted).then_some(())
        })
        .await;
    }

    async fn watch(&self) -> tonic::Streaming<pb::WatchVehiclesResponse> {
        let request = pb::WatchVehiclesRequest {};
        self.connector.clone().watch_vehicles(request).await.expect("a stream").into_inner()
    }
}

fn is_connected(message: &pb::WatchVehiclesResponse, vin: &str) -> bool {
    let vehicle = message.vehicles.iter().find(|vehicle| vehicle.vin == vin).expect("of this fleet");
    vehicle.connection_status() == pb::ConnectionStatus::Connected
}

#[tokio::test]
async fn first_the_fleet_then_each_change() {
    let bench = Bench::new().await;
    let mut stream = bench.watch().await;
    let first = stream.message().await.expect("alive").expect("a snapshot");
    assert!(first.snapshot);
    let vins: Vec<_> = first.vehicles.iter().map(|vehicle| vehicle.vin.clone()).collect();
    assert_eq!(vins, bench.vins);
    assert!(first.vehicles.iter().all(|vehicle| !vehicle.make.is_empty() && (2010..2040).contains(&vehicle.year)));
    assert!(vins.iter().all(|vin| is_connected(&first, vin)));

    for connected in [false, true] {
        bench.drive(None, Some(connected)).await;
        let change = within("the change", 5, stream.message()).await.expect("alive").expect("a change");
        assert_eq!(is_connected(&change, &bench.vins[0]), connected);
        assert!(is_connected(&change, &bench.vins[1]));
        assert_eq!(change.instance_id, first.instance_id, "the same incarnation");
    }
}

#[tokio::test]
async fn each_start_is_another_incarnation() {
    let mut incarnations = Vec::new();
    for _ in 0..2 {
        let message = Bench::new().await.watch().await.message().await.expect("alive").expect("a snapshot");
        incarnations.push(message.instance_id);
    }
    assert_ne!(incarnations[0], incarnations[1]);
}
