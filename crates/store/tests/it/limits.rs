//! Limits on real databases: bounded, shared, given back, removed.

use std::time::Duration;

use jiff::Timestamp;
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use tokio::task::JoinSet;
use turnpike_store::{
    Store,
    limits::{self, Limit, Taken},
};
use turnpike_testkit::Database;

use crate::{count, open};

turnpike_testkit::on_both!(
    uses_are_bounded_and_succeed_after_the_named_wait,
    a_use_that_is_given_back_does_not_count,
    a_rolled_back_use_does_not_count,
    parallel_uses_do_not_exceed_the_limit,
    a_batch_counts_like_its_uses_one_by_one,
    parallel_batches_of_the_same_keys_do_not_exceed_the_limit,
    a_spent_budget_is_kept_and_a_full_one_removed,
);

fn start() -> Timestamp {
    Timestamp::from_second(1_763_700_000).expect("in range")
}

async fn take(store: &Store, limit: Limit, key: &str, now: Timestamp) -> Taken {
    let mut tx = store.begin().await.expect("a transaction");
    let taken = limit.take(&mut tx, key, now).await.expect("an answer");
    tx.commit().await.expect("committed");
    taken
}

/// With any pauses: at most a minute's budget at once and at most the rate after it; and a use succeeds after the wait that the
/// refusal named.
async fn uses_are_bounded_and_succeed_after_the_named_wait(database: Database) {
    let store = open(database.url()).await.expect("a store");
    let cases = (1..120_u32, proptest::collection::vec(0..30_000_u64, 1..60));
    let mut runner = TestRunner::deterministic();
    for case in 0..8 {
        let (per_minute, pauses) = cases.new_tree(&mut runner).expect("a case").current();
        let (limit, key) = (Limit::per_minute(per_minute).expect("not 0"), format!("case {case}"));
        let (mut now, mut uses) = (start(), 0_u32);
        for pause in pauses {
            now += Duration::from_millis(pause);
            if let Taken::NotFor(wait) = take(&store, limit, &key, now).await {
                now += wait;
                assert_eq!(take(&store, limit, &key, now).await, Taken::Yes, "after the wait");
            }
            uses += 1;
            let passed = now.duration_since(start()).as_secs_f64();
            let most = f64::from(per_minute) * (1.0 + passed / 60.0);
            assert!(f64::from(uses) <= most + 0.01, "{uses} of {per_minute} a minute in {passed} s");
        }
    }
    assert_eq!(Limit::per_minute(0), None);
}

async fn a_use_that_is_given_back_does_not_count(database: Database) {
    let store = open(database.url()).await.expect("a store");
    let five = Limit::per_minute(5).expect("not 0");
    for _ in 0..20 {
        assert_eq!(take(&store, five, "key", start()).await, Taken::Yes);
        let mut tx = store.begin().await.expect("a transaction");
        five.give_back(&mut tx, "key").await.expect("given back");
        tx.commit().await.expect("committed");
    }
    for _ in 0..5 {
        assert_eq!(take(&store, five, "key", start()).await, Taken::Yes);
    }
    assert_eq!(take(&store, five, "key", start()).await, Taken::NotFor(Duration::from_secs(12)));
    assert_eq!(take(&store, five, "another key", start()).await, Taken::Yes);
}

async fn a_rolled_back_use_does_not_count(database: Database) {
    let store = open(database.url()).await.expect("a store");
    let one = Limit::per_minute(1).expect("not 0");
    let mut tx = store.begin().await.expect("a transaction");
    assert_eq!(one.take(&mut tx, "key", start()).await.expect("an answer"), Taken::Yes);
    tx.rollback().await.expect("rolled back");
    assert_eq!(take(&store, one, "key", start()).await, Taken::Yes);
    assert_eq!(take(&store, one, "key", start()).await, Taken::NotFor(limits::MINUTE));
}

async fn parallel_uses_do_not_exceed_the_limit(database: Database) {
    let (first, second) = (open(database.url()).await.expect("a store"), open(database.url()).await.expect("another"));
    let ten = Limit::per_minute(10).expect("not 0");
    let mut uses = JoinSet::new();
    for n in 0..60 {
        let store = if n % 2 == 0 { first.clone() } else { second.clone() };
        uses.spawn(async move { take(&store, ten, "key", start()).await });
    }
    let taken = uses.join_all().await.into_iter().filter(|taken| *taken == Taken::Yes).count();
    assert_eq!(taken, 10);
}

async fn a_batch_counts_like_its_uses_one_by_one(database: Database) {
    let store = open(database.url()).await.expect("a store");
    let two = Limit::per_minute(2).expect("not 0");
    assert_eq!(take(&store, two, "b", start()).await, Taken::Yes);
    let keys = ["b", "a", "b", "a", "c", "a", "b"].map(str::to_owned);
    let mut tx = store.begin().await.expect("a transaction");
    let taken = two.take_each(&mut tx, &keys, start()).await.expect("an answer");
    tx.commit().await.expect("committed");
    let refused = Taken::NotFor(Duration::from_secs(30));
    assert_eq!(taken, [Taken::Yes, Taken::Yes, refused, Taken::Yes, Taken::Yes, refused, refused]);
    assert_eq!(take(&store, two, "a", start()).await, refused);
    assert_eq!(take(&store, two, "c", start()).await, Taken::Yes);
    let mut tx = store.begin().await.expect("a transaction");
    assert_eq!(two.take_each(&mut tx, &[], start()).await.expect("an answer"), []);
}

async fn parallel_batches_of_the_same_keys_do_not_exceed_the_limit(database: Database) {
    let (first, second) = (open(database.url()).await.expect("a store"), open(database.url()).await.expect("another"));
    let five = Limit::per_minute(5).expect("not 0");
    let mut batches = JoinSet::new();
    for n in 0..40 {
        let store = if n % 2 == 0 { first.clone() } else { second.clone() };
        let mut keys = ["a", "b", "c", "d"].map(str::to_owned);
        keys.rotate_left(n % 4);
        batches.spawn(async move {
            let mut tx = store.begin().await.expect("a transaction");
            let taken = five.take_each(&mut tx, &keys, start()).await.expect("no batch waits for another in a circle");
            tx.commit().await.expect("committed");
            taken.into_iter().filter(|taken| *taken == Taken::Yes).count()
        });
    }
    assert_eq!(batches.join_all().await.into_iter().sum::<usize>(), 4 * 5);
}

async fn a_spent_budget_is_kept_and_a_full_one_removed(database: Database) {
    let store = open(database.url()).await.expect("a store");
    let limit = Limit::per_minute(2).expect("not 0");
    for key in ["one", "one", "two"] {
        assert_eq!(take(&store, limit, key, start()).await, Taken::Yes);
    }
    let later = start() + Duration::from_secs(30);
    assert_eq!(limits::sweep(&store, later).await.expect("swept"), 1);
    assert_eq!(count(&store, "limits").await, 1);
    store.close().await;
    let store = open(database.url()).await.expect("again");
    assert_eq!(take(&store, limit, "one", later).await, Taken::Yes, "half of the budget is back");
    assert_eq!(take(&store, limit, "one", later).await, Taken::NotFor(Duration::from_secs(30)));
}
