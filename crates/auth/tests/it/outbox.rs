//! What ended is told, also when the bus was away meanwhile.

use turnpike_bus::{Bus, Limits};
use turnpike_event::EndReason;
use turnpike_testkit::{Database, RedisServer, eventually};

use crate::house::{Ear, Plan};

turnpike_testkit::on_both!(
    what_ended_without_a_bus_is_told_when_it_is_back,
    what_one_instance_left_behind_the_next_one_tells
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

async fn outbox(database: &Database) -> i64 {
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(database.url()).await.expect("the database");
    let count = sqlx::query_scalar("SELECT COUNT(*) FROM outbox").fetch_one(&pool).await.expect("a number");
    pool.close().await;
    count
}
