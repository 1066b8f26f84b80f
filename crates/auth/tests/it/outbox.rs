//! What ended is told, also when the bus was away meanwhile.

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
    house::{Ear, House, Plan},
    stalled::Stalled,
};

turnpike_testkit::on_both!(
    what_ended_without_a_bus_is_told_when_it_is_back,
    what_one_instance_left_behind_the_next_one_tells,
    an_account_is_what_was_said_last_however_slow_one_instance_is,
    an_instance_that_died_while_it_published_is_replaced,
);

async fn what_ended_without_a_bus_is_told_when_it_is_back(database: Database) {
    let mut redis = RedisServer::start(true).await;
    let bus = Bus::redis(&redis.url(), Limits::default()).expect("a URL");
    let house = Plan { bus: bus.clone(), ..Plan::default() }.start(&database).await.expect("a service");
    let (first, second) = (house.admin().await, house.admin().await);
    let (one, two) = (first.session_id().await, second.session_id().await);
    let mut ear = Ear::on(&bus).await;
    redis.kill();
    first.log_out().await; // without the bus, and without waiting for it
    assert!(first.me().await.is_err(), "here it is over at once");
    redis.restart().await;
    assert_eq!(ear.hear_end(one).await, EndReason::Logout);
    second.log_out().await;
    assert_eq!(ear.hear_end(two).await, EndReason::Logout, "and it goes on as before");
}

async fn what_one_instance_left_behind_the_next_one_tells(database: Database) {
    let redis = RedisServer::start(true).await;
    let bus = || Bus::redis(&redis.url(), Limits::default()).expect("a URL");
    let mut house = Plan { bus: bus(), ..Plan::default() }.start(&database).await.expect("a service");
    let admin = house.admin().await;
    let session = admin.session_id().await;
    house.bus().shutdown().await; // this one never comes back, and says so at once
    admin.log_out().await;
    house.restart().await; // an instance tries at its start; this one tries in vain
    house.restart().await; // and has tried, for it has stopped
    assert_eq!(outbox(&database).await, 1, "what was not told is kept");
    house.take_bus(bus());
    let mut ear = house.listen().await;
    house.restart().await;
    assert_eq!(ear.hear_end(session).await, EndReason::Logout);
    // it is told and forgotten: a restart has nothing left to say
    eventually("an empty outbox", 10, || async { (outbox(&database).await == 0).then_some(()) }).await;
}

/// One instance publishes that an account is inactive, and its request is stuck on the way to Redis; another one activates the
/// account again. The first request arrives last.
async fn an_account_is_what_was_said_last_however_slow_one_instance_is(database: Database) {
    let redis = RedisServer::start(true).await;
    let slow = Stalled::before(&redis.url()).await;
    let bus = |url: &str| Bus::redis(url, Limits::default()).expect("a URL");
    let house = Plan { bus: bus(slow.url()), ..Plan::default() }.start(&database).await.expect("a service");
    let ada = house.create("ada", pb::Role::User).await;
    let (admin, other) = (house.admin().await, house.admin().await);
    let marker = other.session_id().await;
    let user_id: UserId = ada.id.parse().expect("an id");
    let direct = bus(&redis.url());
    let (_process, second) = house.second_instance_on(direct.clone()).await;
    let none: [(&str, &str); 0] = [];
    let process = Process::new(Environment::new(none).expect("nothing"), Clock::system()).expect("a process");
    let gateway = Revocations::watch(&process, &direct, Transport::direct(second.routes()));
    let claims = |user_id, session_id| Claims {
        user_id,
        session_id,
        token_id: uuid::Uuid::now_v7(),
        role: turnpike_token::Role::User,
        issued_at: house.clock.now(),
        expires_at: house.clock.now() + turnpike_token::LIFETIME,
        auth_time: house.clock.now(),
    };
    let adas = claims(user_id, SessionId::new(house.clock.now()));
    process.health.ready().await;
    let mut ear = Ear::on(&direct).await;

    slow.hold(&ada.id);
    admin.set_active(&ada, false).await.expect("switched off");
    slow.holds_one().await;
    let mut client = AuthServiceClient::new(Transport::direct(second.routes()));
    let on = pb::UpdateUserRequest { user_id: ada.id.clone(), active: Some(true), ..Default::default() };
    client.update_user(admin.access.request(on)).await.expect("switched on");
    let mut heard = Vec::new();
    while heard.last() != Some(&true) {
        if let Body::Account(AccountEvent::Changed { active, .. }) = ear.hear().await {
            heard.push(active);
        }
    }
    assert_eq!(heard, [false, true], "in the order of the changes");

    slow.release();
    while !matches!(ear.hear().await, Body::Account(AccountEvent::Changed { active: false, .. })) {}
    other.log_out().await; // what follows the late request
    eventually("the gateway to have read so far", 10, || async {
        gateway.check(&claims(other.user_id(), marker)).is_err().then_some(())
    })
    .await;
    assert_eq!(gateway.check(&adas), Ok(()), "the account is active");
}

async fn an_instance_that_died_while_it_published_is_replaced(database: Database) {
    let house = House::new(&database).await;
    let (admin, other) = (house.admin().await, house.admin().await);
    let session = other.session_id().await;
    let mut ear = house.listen().await;
    execute(&database, "UPDATE turns SET holder = 'dead' WHERE name = 'outbox'").await;
    other.log_out().await;
    admin.me().await.expect("nothing else waits");
    // It may hold the outbox for no longer than ten seconds from when it is seen.
    eventually("a word on the bus", 20, || async {
        house.pass(1);
        (outbox(&database).await == 0).then_some(())
    })
    .await;
    assert_eq!(ear.hear_end(session).await, EndReason::Logout);
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
