//! Cancellations, and repeated calls.

use std::{collections::BTreeSet, time::Duration};

use tonic::Code;
use turnpike_event::{Body, CommandEvent, CommandState, Event};
use turnpike_proto::vehicle::v1 as pb;
use turnpike_topic::{CommandId, Topic};
use uuid::Uuid;

use crate::bench::{Bench, summaries};

const MOTOR: &str = r#"{"ecuAddress":"0x10"}"#;
const ISOLATION_TEST: &str = r#"{"ecuAddress":"0x11","routineId":"0x0203","action":"start"}"#;

#[tokio::test]
async fn a_cancelled_read_stops() {
    let bench = Bench::of(1, 400).await;
    let id = bench.execute(1, "ReadDTC", MOTOR).await.expect("accepted");
    bench.so_far(id, 1).await;
    bench.cancel(id).await.expect("it can be stopped");
    assert_eq!(summaries(&bench.to_the_end(id).await), ["in_progress", "cancelled."]);
    bench.at_rest().await;
}

#[tokio::test]
async fn a_command_without_an_answer_stops_when_it_is_cancelled() {
    let bench = Bench::new().await;
    bench.set(pb::Faults { silent: true, ..pb::Faults::default() }).await;
    let id = bench.execute(1, "RoutineControl", ISOLATION_TEST).await.expect("accepted");
    bench.so_far(id, 1).await;
    bench.cancel(id).await.expect("it can be stopped");
    assert_eq!(summaries(&bench.to_the_end(id).await), ["in_progress", "cancelled."]);
}

#[tokio::test]
async fn a_reset_cannot_be_cancelled_and_continues() {
    let bench = Bench::of(1, 400).await;
    let id = bench.execute(1, "ECUReset", MOTOR).await.expect("accepted");
    bench.so_far(id, 1).await;
    let refused = bench.cancel(id).await.expect_err("a restart cannot be stopped");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    bench.hand.advance(Duration::from_secs(1));
    assert_eq!(summaries(&bench.to_the_end(id).await), ["in_progress", "response 1 final", "completed."]);
}

#[tokio::test]
async fn cancelling_an_unknown_command_is_not_found() {
    let bench = Bench::new().await;
    let id = bench.execute(1, "ClearDTC", MOTOR).await.expect("accepted");
    bench.to_the_end(id).await;
    bench.at_rest().await;
    for text in [Uuid::from_u128(2).to_string(), "garbage".to_owned(), String::new()] {
        let answer = bench.connector.clone().cancel(pb::CancelRequest { command_id: text.clone() }).await;
        assert_eq!(answer.expect_err("nothing runs").code(), Code::NotFound, "{text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_calls_with_one_id_run_once() {
    let bench = Bench::new().await;
    let id = CommandId::from(Uuid::from_u128(1));
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let (mut connector, request) = (bench.connector.clone(), bench.request(id, "ECUReset", MOTOR));
            #[expect(clippy::disallowed_methods, reason = "a test spawns freely")]
            tokio::spawn(async move { connector.execute(request).await.expect("accepted").into_inner().instance_id })
        })
        .collect();
    let mut incarnations = BTreeSet::new();
    for call in calls {
        incarnations.insert(call.await.expect("no panic"));
    }
    assert_eq!(incarnations.len(), 1, "all get the same answer");
    assert_eq!(summaries(&bench.to_the_end(id).await), ["in_progress", "response 1 final", "completed."]);
    let executions = bench.executions().await;
    assert_eq!(executions.iter().map(|run| run.times_run).collect::<Vec<_>>(), [1]);

    bench.drive(None, Some(false)).await;
    let again = bench.execute(1, "ECUReset", MOTOR).await;
    assert!(again.is_ok(), "also when the vehicle is disconnected: {again:?}");
}

#[tokio::test]
async fn a_command_that_was_ended_by_another_service_stops() {
    let bench = Bench::of(1, 400).await;
    let id = bench.execute(1, "RoutineControl", ISOLATION_TEST).await.expect("accepted");
    bench.so_far(id, 1).await;
    let body = Body::Command(CommandEvent::Status { command_id: id, state: CommandState::Unknown });
    let end = Event { at: bench.clock.now(), body };
    bench.bus.close(&Topic::Response(id), &end.to_bytes()).await.expect("the first end");
    // Its next event is refused; it does not wait for the deadline.
    bench.hand.advance(Duration::from_secs(1));
    bench.at_rest().await;
    assert_eq!(summaries(&bench.to_the_end(id).await), ["in_progress", "unknown."]);
}
