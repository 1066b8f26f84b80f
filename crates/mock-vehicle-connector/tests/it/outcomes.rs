//! Faults: one test for each row of the table in the README, and one without faults.

use std::time::Duration;

use tonic::Code;
use turnpike_proto::vehicle::v1 as pb;

use crate::bench::{Bench, TIMEOUT, message, summaries};

const MOTOR: &str = r#"{"ecuAddress":"0x10"}"#;
/// Five responses: four of progress, then the result. Unsafe.
const ISOLATION_TEST: &str = r#"{"ecuAddress":"0x11","routineId":"0x0203","action":"start"}"#;
const RESULTS: &str = r#"{"ecuAddress":"0x11","routineId":"0x0203","action":"results"}"#;
const ALL_FIVE: [&str; 7] =
    ["in_progress", "response 1", "response 2", "response 3", "response 4", "response 5 final", "completed."];

#[tokio::test]
async fn without_faults_commands_complete() {
    let bench = Bench::new().await;
    assert_eq!(bench.outcome(1, "RoutineControl", ISOLATION_TEST).await, ALL_FIVE);
    let one = ["in_progress", "response 1 final", "completed."];
    assert_eq!(bench.outcome(2, "ReadDataByID", r#"{"ecuAddress":"0x10","dataId":"0xF190"}"#).await, one);
    assert_eq!(bench.outcome(3, "ClearDTC", MOTOR).await, one);
    assert_eq!(bench.outcome(4, "ECUReset", MOTOR).await, one);
}

#[tokio::test]
async fn a_negative_response() {
    let bench = Bench::new().await;
    bench.set(pb::Faults { nrc: 0x22, nrc_probability: 1.0, ..pb::Faults::default() }).await;
    let id = bench.execute(1, "ECUReset", MOTOR).await.expect("accepted");
    let records = bench.to_the_end(id).await;
    assert_eq!(summaries(&records), ["in_progress", "error NEGATIVE_RESPONSE", "failed."]);
    assert!(message(&records).contains("0x22 conditionsNotCorrect"), "{}", message(&records));
}

#[tokio::test]
async fn response_pending() {
    let bench = Bench::of(1, 100).await;
    bench.set(pb::Faults { response_pending: 3, latency: latency(1000), ..pb::Faults::default() }).await;
    let id = bench.execute(1, "ClearDTC", MOTOR).await.expect("accepted");
    for _ in 0..3 {
        bench.so_far(id, 1).await;
        bench.hand.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
        assert_eq!(bench.so_far(id, 1).await, ["in_progress"], "it is still running");
    }
    bench.hand.advance(Duration::from_secs(1));
    assert_eq!(summaries(&bench.to_the_end(id).await), ["in_progress", "response 1 final", "completed."]);
}

#[tokio::test]
async fn silence() {
    let bench = Bench::new().await;
    bench.set(pb::Faults { silent: true, ..pb::Faults::default() }).await;
    for (n, name, params) in [(1, "ReadDTC", MOTOR), (2, "RoutineControl", ISOLATION_TEST)] {
        let id = bench.execute(n, name, params).await.expect("accepted");
        assert_eq!(bench.so_far(id, 1).await, ["in_progress"]);
        bench.hand.advance(TIMEOUT);
        bench.at_rest().await;
        assert_eq!(bench.so_far(id, 1).await, ["in_progress"], "the connector declares no end");
    }
}

#[tokio::test]
async fn duplicate_frames() {
    let bench = Bench::new().await;
    bench.set(pb::Faults { duplicate_probability: 1.0, ..pb::Faults::default() }).await;
    assert_eq!(bench.outcome(1, "RoutineControl", ISOLATION_TEST).await, ALL_FIVE);
}

#[tokio::test]
async fn frames_out_of_order() {
    let bench = Bench::new().await;
    bench.set(pb::Faults { reorder_probability: 1.0, ..pb::Faults::default() }).await;
    let id = bench.execute(1, "RoutineControl", ISOLATION_TEST).await.expect("accepted");
    let records = bench.to_the_end(id).await;
    assert_eq!(summaries(&records), ALL_FIVE);
    let progress: Vec<_> = (1..6).map(|n| crate::script::answer(&records[n])["progress"].clone()).collect();
    assert_eq!(progress, [20, 40, 60, 80, 100], "in order");
}

#[tokio::test]
async fn a_malformed_frame() {
    let bench = Bench::new().await;
    bench.set(pb::Faults { malformed_probability: 1.0, ..pb::Faults::default() }).await;
    let broken = |end| ["in_progress".to_owned(), "error MALFORMED_RESPONSE".to_owned(), format!("{end}.")];
    assert_eq!(bench.outcome(1, "ReadDTC", MOTOR).await, broken("failed"));
    assert_eq!(bench.outcome(2, "ClearDTC", MOTOR).await, broken("failed"));
    assert_eq!(bench.outcome(3, "RoutineControl", ISOLATION_TEST).await, broken("unknown"));
    assert_eq!(bench.outcome(4, "ECUReset", MOTOR).await, broken("unknown"));
}

#[tokio::test]
async fn reading_results_of_a_routine_is_safe() {
    let bench = Bench::new().await;
    bench.outcome(1, "RoutineControl", ISOLATION_TEST).await;
    bench.set(pb::Faults { malformed_probability: 1.0, ..pb::Faults::default() }).await;
    assert_eq!(bench.outcome(2, "RoutineControl", RESULTS).await.last().map(String::as_str), Some("failed."));
}

#[tokio::test]
async fn the_last_frame_lost() {
    let bench = Bench::new().await;
    bench.set(pb::Faults { lose_final: true, ..pb::Faults::default() }).await;
    let id = bench.execute(1, "RoutineControl", ISOLATION_TEST).await.expect("accepted");
    assert_eq!(bench.so_far(id, 5).await, ALL_FIVE[..5]);
    bench.hand.advance(TIMEOUT);
    bench.at_rest().await;
    assert_eq!(bench.so_far(id, 5).await, ALL_FIVE[..5]);
}

#[tokio::test]
async fn the_connection_lost() {
    let bench = Bench::new().await;
    bench.set(pb::Faults { disconnect_at: 3, ..pb::Faults::default() }).await;
    let outcome = bench.outcome(1, "RoutineControl", ISOLATION_TEST).await;
    assert_eq!(outcome, ["in_progress", "response 1", "response 2", "error VEHICLE_DISCONNECTED", "unknown."]);

    bench.set(pb::Faults { disconnect_at: 1, ..pb::Faults::default() }).await;
    let refused = bench.execute(2, "ReadDTC", MOTOR).await.expect_err("it is away");
    assert_eq!(refused.code(), Code::Unavailable);
    bench.hand.advance(Duration::from_millis(4_999));
    assert!(bench.execute(3, "ReadDTC", MOTOR).await.is_err(), "for five seconds");
    bench.hand.advance(Duration::from_millis(1));
    bench.connected(true).await;
    let outcome = bench.outcome(4, "ReadDTC", MOTOR).await;
    assert_eq!(outcome, ["in_progress", "error VEHICLE_DISCONNECTED", "failed."], "a read is safe");
}

#[tokio::test]
async fn a_control_unit_restarting() {
    let bench = Bench::new().await;
    bench.outcome(1, "ECUReset", MOTOR).await;
    let deaf = bench.execute(2, "ReadDTC", MOTOR).await.expect("accepted");
    assert_eq!(bench.so_far(deaf, 1).await, ["in_progress"]);
    let battery = bench.outcome(3, "ReadDTC", r#"{"ecuAddress":"0x11"}"#).await;
    assert_eq!(battery.last().map(String::as_str), Some("completed."), "other control units answer");
    bench.hand.advance(Duration::from_secs(4));
    let outcome = bench.outcome(4, "ReadDTC", MOTOR).await;
    assert_eq!(outcome.last().map(String::as_str), Some("completed."), "it is back");
    assert_eq!(bench.so_far(deaf, 1).await, ["in_progress"], "a request during the restart is lost");
    bench.hand.advance(TIMEOUT);
    bench.at_rest().await;
}

#[tokio::test]
async fn no_such_control_unit() {
    let bench = Bench::new().await;
    let refused =
        bench.execute(1, "ReadDTC", r#"{"ecuAddress":"0x77"}"#).await.expect_err("there is no such control unit");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("0x10 motor"), "the message names the control units: {}", refused.message());
    assert!(bench.executions().await.is_empty());
}

#[tokio::test]
async fn a_moving_vehicle_is_not_reset() {
    let bench = Bench::new().await;
    bench.drive(Some(50.0), None).await;
    let id = bench.execute(1, "ECUReset", MOTOR).await.expect("accepted");
    let records = bench.to_the_end(id).await;
    assert_eq!(summaries(&records), ["in_progress", "error NEGATIVE_RESPONSE", "failed."]);
    assert!(message(&records).contains("vehicleSpeedTooHigh"));
}

fn latency(mean_ms: u32) -> Option<pb::Latency> {
    Some(pb::Latency { mean_ms, spread_ms: 0 })
}
