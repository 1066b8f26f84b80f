//! What is refused, to whom, and in which words.

use turnpike_fault::{Fault, Kind};
use turnpike_proto::{topic::v1::ReadArchiveRequest, vehicle::v1 as pb};
use turnpike_rpc::mismatches;
use turnpike_testkit::Database;
use turnpike_token::Role;
use turnpike_vehicles::POLICY;
use uuid::Uuid;

use crate::{
    caller::{MOTOR, archive_of},
    world::World,
};

turnpike_testkit::on_both!(
    a_bad_submission_names_its_field,
    roles,
    other_peoples_commands_do_not_exist,
    bad_pages_name_their_field
);

const ROUTINE: &str = r#"{"ecuAddress":"0x10","routineId":"0x0203","action":"start"}"#;

#[test]
fn every_method_has_a_row() {
    assert_eq!(mismatches(POLICY), Vec::<String>::new());
}

fn about(fault: &Fault) -> (Kind, &str, Vec<&str>) {
    (fault.kind(), fault.code(), fault.fields().iter().map(|field| field.field.as_str()).collect())
}

async fn a_bad_submission_names_its_field(database: Database) {
    use Kind::{Invalid, Validation};
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Admin).at(&instance);
    let good = caller.request("ReadDTC", MOTOR).await;
    let with = |change: fn(&mut pb::SubmitCommandRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    let cases = [
        (with(|r| r.vehicle_id = Uuid::from_u128(1).to_string()), Invalid, "UNKNOWN_VEHICLE", "vehicle_id"),
        (with(|r| r.vehicle_id = "car".into()), Invalid, "UNKNOWN_VEHICLE", "vehicle_id"),
        (with(|r| r.name = "Fly".into()), Invalid, "UNKNOWN_COMMAND", "command_name"),
        (with(|r| r.params_json = String::new()), Invalid, "INVALID_PARAMETERS", "command_params.ecuAddress"),
        (with(|r| r.params_json = "{".into()), Validation, "VALIDATION", "command_params"),
        (with(|r| r.params_json = "[]".into()), Validation, "VALIDATION", "command_params"),
        (with(|r| r.params_json = " ".repeat(16_385)), Validation, "VALIDATION", "command_params"),
        (with(|r| r.timeout_seconds = 3601), Validation, "VALIDATION", "timeout_seconds"),
        (with(|r| r.idempotency_key = "k".repeat(256)), Validation, "VALIDATION", "Idempotency-Key"),
    ];
    for (request, kind, code, field) in cases {
        let fault = caller.submit(request).await.expect_err(code);
        assert_eq!(about(&fault), (kind, code, vec![field]));
    }
    for seconds in [1, 3600] {
        let request = pb::SubmitCommandRequest { timeout_seconds: seconds, ..good.clone() };
        let command = caller.submit(request).await.expect("in range").command.expect("a command");
        assert_eq!(command.timeout_seconds, seconds);
    }
    let all = caller.list(pb::ListCommandsRequest::default()).await.expect("a list").commands;
    assert_eq!(all.len(), 2, "what was refused is not kept");
}

async fn roles(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let allowed = [(Role::User, 0), (Role::Operator, 2), (Role::Engineer, 4), (Role::Admin, 4)];
    for (place, (role, count)) in allowed.into_iter().enumerate() {
        let caller = world.person(role).at(&instance);
        let vehicle = caller.vehicles().await.remove(0);
        caller.get_vehicle(&vehicle.id).await.expect("anybody may look");
        // Each role on a control unit of its own.
        let on = |params: &str| params.replace("0x10", &format!("0x2{place}"));
        let commands = [("ReadDTC", on(MOTOR)), ("ClearDTC", on(MOTOR)), ("ECUReset", on(MOTOR))];
        for (n, (name, params)) in commands.iter().enumerate() {
            let sent = caller.try_send(name, params).await;
            match sent {
                Ok(_) => assert!(n < count, "{role} {name}"),
                Err(fault) => assert!(n >= count && fault.kind() == Kind::Forbidden, "{role} {name}: {fault}"),
            }
        }
        let other = ROUTINE.replace("0x10", &format!("0x3{place}"));
        assert_eq!(caller.try_send("RoutineControl", &other).await.is_ok(), count == 4, "{role}");
        let cancelled = caller.cancel(Uuid::from_u128(1).into()).await.expect_err("no such command");
        assert_eq!(cancelled.kind(), if role == Role::User { Kind::Forbidden } else { Kind::NotFound });
    }
}

async fn other_peoples_commands_do_not_exist(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let owner = world.person(Role::Operator).at(&instance);
    let id = owner.send("ReadDTC", MOTOR).await;
    let command_id = id.to_string();
    let responses = pb::ListResponsesRequest { command_id: command_id.clone(), ..Default::default() };
    let events = archive_of(id);

    let other = world.person(Role::Engineer).at(&instance);
    for (theirs, never) in [
        (
            other.try_get(&command_id).await.map(|_| ()),
            other.try_get(&Uuid::from_u128(1).to_string()).await.map(|_| ()),
        ),
        (other.responses(responses.clone()).await.map(|_| ()), other.try_get("garbage").await.map(|_| ())),
        (other.archive(events.clone()).await.map(|_| ()), other.try_get("").await.map(|_| ())),
        (other.authorize(&events.topic).await.map(|_| ()), other.try_get("").await.map(|_| ())),
        (other.cancel(id).await.map(|_| ()), other.cancel(Uuid::from_u128(1).into()).await.map(|_| ())),
    ] {
        let (theirs, never) = (theirs.expect_err("not theirs"), never.expect_err("there is none"));
        assert_eq!(theirs, never, "the two answers are equal");
        assert_eq!(theirs.kind(), Kind::NotFound);
    }
    assert!(other.list(pb::ListCommandsRequest::default()).await.expect("a list").commands.is_empty());

    let admin = world.person(Role::Admin).at(&instance);
    assert_eq!(admin.get(id).await.user_id, owner.person.user_id.to_string());
    admin.responses(responses).await.expect("an admin sees all");
    admin.authorize(&events.topic).await.expect("an admin sees all");
    admin.archive(events).await.expect("an admin sees all");
    assert_eq!(admin.list(pb::ListCommandsRequest::default()).await.expect("a list").commands.len(), 1);
    world.script.has(id).await;
    admin.cancel(id).await.expect("an admin may stop all");
}

async fn bad_pages_name_their_field(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Operator).at(&instance);
    let id = caller.send("ReadDTC", MOTOR).await;
    let list = pb::ListCommandsRequest::default();
    let events = archive_of(id);
    let responses = pb::ListResponsesRequest { command_id: id.to_string(), ..Default::default() };
    let refused = [
        ("limit", caller.list(pb::ListCommandsRequest { limit: 101, ..list.clone() }).await.map(|_| ())),
        ("cursor", caller.list(pb::ListCommandsRequest { cursor: "x".into(), ..list.clone() }).await.map(|_| ())),
        ("status", caller.list(pb::ListCommandsRequest { status: "done".into(), ..list }).await.map(|_| ())),
        ("limit", caller.archive(ReadArchiveRequest { limit: 1001, ..events.clone() }).await.map(|_| ())),
        ("after", caller.archive(ReadArchiveRequest { after: "x".into(), ..events.clone() }).await.map(|_| ())),
        ("cursor", caller.responses(pb::ListResponsesRequest { cursor: "-1".into(), ..responses }).await.map(|_| ())),
    ];
    for (field, answer) in refused {
        let fault = answer.expect_err(field);
        assert_eq!(about(&fault), (Kind::Validation, "VALIDATION", vec![field]));
    }
    let never = caller.archive(ReadArchiveRequest { after: "7-99".into(), ..events }).await.expect_err("not there");
    assert_eq!(never.kind(), Kind::NotFound);
}
