//! Events of ended sessions and changed accounts, also around outages of the bus.

use turnpike_bus::{Bus, Limits};
use turnpike_event::{AccountEvent, Body, EndReason};
use turnpike_identity::Revocations;
use turnpike_kit::{Clock, Environment, Process};
use turnpike_proto::auth::v1::{self as pb, auth_service_client::AuthServiceClient};
use turnpike_rpc::Transport;
use turnpike_testkit::{Database, RedisServer, eventually};
use turnpike_token::Claims;
use turnpike_topic::{SessionId, UserId};

use crate::{
    harness::{BusListener, Harness, Setup},
    stalled::Stalled,
};

turnpike_testkit::on_both!(
    ends_during_a_bus_outage_are_published_after_it,
    unpublished_events_are_published_by_the_next_instance,
    a_late_event_of_a_slow_instance_does_not_override_a_newer_one,
    an_instance_that_died_while_it_published_is_replaced,
);

async fn ends_during_a_bus_outage_are_published_after_it(database: Database) {
    let mut redis = RedisServer::start(true).await;
    let bus = Bus::redis(&redis.url(), Limits::default()).expect("a URL");
    let harness = Setup { bus: bus.clone(), ..Setup::default() }.start(&database).await.expect("a service");
    let (first, second) = (harness.admin().await, harness.admin().await);
    let (one, two) = (first.session_id().await, second.session_id().await);
    let mut listener = BusListener::on(&bus).await;
    redis.kill();
    first.log_out().await; // does not wait for the bus
    assert!(first.me().await.is_err(), "auth refuses the session at once");
    redis.restart().await;
    assert_eq!(listener.end_of(one).await, EndReason::Logout);
    second.log_out().await;
    assert_eq!(listener.end_of(two).await, EndReason::Logout, "later events are published as before");
}

async fn unpublished_events_are_published_by_the_next_instance(database: Database) {
    let redis = RedisServer::start(true).await;
    let bus = || Bus::redis(&redis.url(), Limits::default()).expect("a URL");
    let mut harness = Setup { bus: bus(), ..Setup::default() }.start(&database).await.expect("a service");
    let admin = harness.admin().await;
    let session = admin.session_id().await;
    harness.bus().shutdown().await; // this bus refuses every call from now on
    admin.log_out().await;
    harness.restart().await; // an instance publishes at its start; this one fails
    harness.restart().await; // it has tried before it stopped
    assert_eq!(outbox(&database).await, 1, "the unpublished event is kept");
    harness.take_bus(bus());
    let mut listener = harness.listen().await;
    harness.restart().await;
    assert_eq!(listener.end_of(session).await, EndReason::Logout);
    // published and removed: nothing is left for a restart
    eventually("an empty outbox", 10, || async { (outbox(&database).await == 0).then_some(()) }).await;
}

/// One instance publishes that an account is inactive, and its request is stuck on the way to Redis; another one activates the
/// account again. The first request arrives last.
async fn a_late_event_of_a_slow_instance_does_not_override_a_newer_one(database: Database) {
    let redis = RedisServer::start(true).await;
    let slow = Stalled::before(&redis.url()).await;
    let bus = |url: &str| Bus::redis(url, Limits::default()).expect("a URL");
    let harness = Setup { bus: bus(slow.url()), ..Setup::default() }.start(&database).await.expect("a service");
    let ada = harness.create("ada", pb::Role::User).await;
    let (admin, other) = (harness.admin().await, harness.admin().await);
    let marker = other.session_id().await;
    let user_id: UserId = ada.id.parse().expect("an id");
    let direct = bus(&redis.url());
    let (_process, second) = harness.second_instance_on(direct.clone()).await;
    let none: [(&str, &str); 0] = [];
    let process = Process::new(Environment::new(none).expect("nothing"), Clock::system()).expect("a process");
    let gateway = Revocations::watch(&process, &direct, Transport::direct(second.routes()));
    let claims = |user_id, session_id| Claims {
        user_id,
        session_id,
        token_id: uuid::Uuid::now_v7(),
        username: "ada".into(),
        role: turnpike_token::Role::User,
        issued_at: harness.clock.now(),
        expires_at: harness.clock.now() + turnpike_token::LIFETIME,
        auth_time: harness.clock.now(),
        api_key: None,
    };
    let adas = claims(user_id, SessionId::new(harness.clock.now()));
    process.health.ready().await;
    let mut listener = BusListener::on(&direct).await;

    slow.hold(&ada.id);
    admin.set_active(&ada, false).await.expect("switched off");
    slow.holds_one().await;
    let mut client = AuthServiceClient::new(Transport::direct(second.routes()));
    let on = pb::UpdateUserRequest { user_id: ada.id.clone(), active: Some(true), ..Default::default() };
    client.update_user(admin.access.request(on)).await.expect("switched on");
    let mut heard = Vec::new();
    while heard.last() != Some(&true) {
        if let Body::Account(AccountEvent::Changed { active, .. }) = listener.next_event().await {
            heard.push(active);
        }
    }
    assert_eq!(heard, [false, true], "in the order of the changes");

    slow.release();
    while !matches!(listener.next_event().await, Body::Account(AccountEvent::Changed { active: false, .. })) {}
    other.log_out().await; // an event after the late request
    eventually("the gateway to have read so far", 10, || async {
        gateway.check(&claims(other.user_id(), marker)).is_err().then_some(())
    })
    .await;
    assert_eq!(gateway.check(&adas), Ok(()), "the account is active");
}

async fn an_instance_that_died_while_it_published_is_replaced(database: Database) {
    let harness = Harness::new(&database).await;
    let (admin, other) = (harness.admin().await, harness.admin().await);
    let session = other.session_id().await;
    let mut listener = harness.listen().await;
    execute(&database, "UPDATE turns SET holder = 'dead' WHERE name = 'outbox'").await;
    other.log_out().await;
    admin.me().await.expect("other calls do not wait");
    // It can keep its turn for at most ten seconds after another instance has seen it.
    eventually("an event on the bus", 20, || async {
        harness.pass(1);
        (outbox(&database).await == 0).then_some(())
    })
    .await;
    assert_eq!(listener.end_of(session).await, EndReason::Logout);
}

async fn execute(database: &Database, sql: &'static str) {
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(database.url()).await.expect("the database");
    sqlx::query(sql).execute(&pool).await.expect("good SQL");
    pool.close().await;
}

async fn outbox(database: &Database) -> i64 {
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(database.url()).await.expect("the database");
    let count = sqlx::query_scalar("SELECT COUNT(*) FROM outbox").fetch_one(&pool).await.expect("a number");
    pool.close().await;
    count
}
