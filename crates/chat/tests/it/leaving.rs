//! A client that leaves ends its request upstream, in every phase, and leaves nothing behind.

use std::time::{Duration, Instant};

use turnpike_testkit::{Database, eventually, within};
use turnpike_token::Role;

use crate::{
    fake::{Fake, Plan, Step, role, text},
    model_caller::Caller,
    world::{Instance, World},
};

async fn start(fake: &Fake) -> (World, Instance, Caller) {
    let world = World::new(Database::sqlite()).with("TURNPIKE_LLM_URL", fake.url());
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    (world, instance, caller)
}

fn phases() -> [(&'static str, bool, Plan); 5] {
    let head = |content_type| Plan::new([Step::Head(200, content_type)]);
    let begun = Plan::events([role().as_str(), text("Hello").as_str()]);
    [
        ("before the headers", true, Plan::hang()),
        ("before the headers of a whole answer", false, Plan::hang()),
        ("after the headers", true, head("text/event-stream").then([Step::Hang])),
        ("within a whole answer", false, head("application/json").then([Step::Write(b"{".to_vec()), Step::Hang])),
        ("between pieces", true, begun.then([Step::Hang])),
    ]
}

/// The target is 20 ms; the bound allows for a busy machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_upstream_sees_the_close_in_every_phase() {
    let fake = Fake::start().await;
    let (_world, _instance, caller) = start(&fake).await;
    for (n, (phase, stream, plan)) in phases().into_iter().enumerate() {
        fake.next(plan);
        let asking = tokio::spawn({
            let caller = caller.clone();
            async move {
                let mut answer = caller.chat(stream).await.expect("an answer");
                answer.rest().await
            }
        });
        fake.hangs(n + 1).await;
        let left = Instant::now();
        asking.abort();
        let closed = fake.closed(n).await;
        assert!(closed - left < Duration::from_secs(5), "{phase}: {:?}", closed - left);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_that_leave_leave_nothing() {
    let fake = Fake::start().await;
    let (_world, instance, caller) = start(&fake).await;
    caller.chat(false).await.expect("an answer");
    let tasks = || (instance.tasks(), instance.runtime_tasks());
    let before = eventually("idle", 30, || async { (fake.open() == 1).then(tasks) }).await;
    for round in 0..40 {
        let mut asking = tokio::task::JoinSet::new();
        for n in 0..25 {
            let (_, stream, plan) = phases()[n % 5].clone();
            fake.next(plan);
            let caller = caller.clone();
            asking.spawn(async move { caller.chat(stream).await.expect("an answer").rest().await });
        }
        fake.hangs((round + 1) * 25).await;
        asking.shutdown().await;
    }
    within("all closed", 60, async {
        while fake.seen().iter().filter(|seen| seen.closed.is_some()).count() < 1000 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // At most the one connection that was there before is left, and no task more than before.
    eventually("nothing left", 30, || async {
        let now = tasks();
        (fake.open() <= 1 && now.0 <= before.0 && now.1 <= before.1).then_some(())
    })
    .await;
    assert!(caller.chat(true).await.expect("an answer").rest().await.contains("Hello"), "it still works");
}
