//! Invalid requests, and the policy of the methods.

use tonic::{Code, Status};
use turnpike_fault::Fault;
use turnpike_mock_vehicle_connector::POLICY;
use turnpike_proto::vehicle::v1 as pb;
use turnpike_rpc::mismatches;
use turnpike_topic::CommandId;
use uuid::Uuid;

use crate::bench::Bench;

#[test]
fn every_method_has_a_row() {
    assert_eq!(mismatches(POLICY), Vec::<String>::new());
}

#[tokio::test]
async fn an_invalid_command_names_its_field() {
    let bench = Bench::new().await;
    let good = bench.request(CommandId::from(Uuid::from_u128(1)), "ReadDTC", r#"{"ecuAddress":"0x10"}"#);
    let cases = [
        ("command_id", pb::ExecuteRequest { command_id: "7".into(), ..good.clone() }, Code::InvalidArgument),
        ("vin", pb::ExecuteRequest { vin: "WTPEV1A29JM000000".into(), ..good.clone() }, Code::NotFound),
        ("params_json", pb::ExecuteRequest { name: "Fly".into(), ..good.clone() }, Code::InvalidArgument),
        ("params_json", pb::ExecuteRequest { params_json: "{".into(), ..good.clone() }, Code::InvalidArgument),
        ("deadline", pb::ExecuteRequest { deadline: None, ..good.clone() }, Code::InvalidArgument),
    ];
    for (field, request, code) in cases {
        let refused = bench.connector.clone().execute(request).await.expect_err(field);
        assert_eq!((refused.code(), fields(&refused)), (code, vec![field.to_owned()]));
    }
    assert!(bench.executions().await.is_empty(), "nothing ran");
    bench.connector.clone().execute(good).await.expect("the good one");
}

#[tokio::test]
async fn invalid_faults_name_their_field() {
    let bench = Bench::new().await;
    let none = pb::Faults::default();
    let cases = [
        ("nrc", pb::Faults { nrc: 256, ..none }),
        ("nrc_probability", pb::Faults { nrc: 1, nrc_probability: 1.1, ..none }),
        ("duplicate_probability", pb::Faults { duplicate_probability: -0.1, ..none }),
        ("reorder_probability", pb::Faults { reorder_probability: f64::NAN, ..none }),
        ("malformed_probability", pb::Faults { malformed_probability: f64::INFINITY, ..none }),
        ("response_pending", pb::Faults { response_pending: 1001, ..none }),
        ("latency", pb::Faults { latency: Some(pb::Latency { mean_ms: 1, spread_ms: 2 }), ..none }),
        ("latency", pb::Faults { latency: Some(pb::Latency { mean_ms: u32::MAX, spread_ms: 1 }), ..none }),
    ];
    for (field, faults) in cases {
        let request = pb::SetFaultsRequest { vin: bench.vins[0].clone(), faults: Some(faults) };
        let refused = bench.control.clone().set_faults(request).await.expect_err(field);
        assert_eq!(fields(&refused), [field]);
    }
    for speed in [-1.0, 251.0, f64::NAN] {
        let request = pb::DriveRequest { vin: bench.vins[0].clone(), speed_kmh: Some(speed), connected: None };
        assert_eq!(fields(&bench.control.clone().drive(request).await.expect_err("no speed")), ["speed_kmh"]);
    }
    let nobody = pb::SetFaultsRequest { vin: "nobody".into(), faults: None };
    assert_eq!(fields(&bench.control.clone().set_faults(nobody).await.expect_err("no vehicle")), ["vin"]);
}

fn fields(status: &Status) -> Vec<String> {
    Fault::from(status.clone()).fields().iter().map(|field| field.field.clone()).collect()
}
