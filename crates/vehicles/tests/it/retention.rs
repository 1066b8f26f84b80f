//! Retention: commands that ended long ago are removed with their events, and nothing else.

use std::time::Duration;

use turnpike_event::CommandState;
use turnpike_testkit::{Database, eventually};
use turnpike_token::Role;

use crate::{caller::MOTOR, world::World};

turnpike_testkit::on_both!(commands_are_removed_after_ninety_days_and_open_ones_never);

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn commands_are_removed_after_ninety_days_and_open_ones_never(database: Database) {
    let world = World::new(database);
    let first = world.start().await;
    let caller = world.person(Role::Operator).at(&first);
    let mut ended = Vec::new();
    for _ in 0..3 {
        let id = caller.send("ReadDTC", MOTOR).await;
        world.script.has(id).await;
        ended.push(id);
    }
    let open = caller.send("ReadDTC", MOTOR).await;
    world.script.has(open).await;
    // One of them has more events than one step removes.
    for n in 1..=600 {
        world.answer(ended[0], n).await.expect("open");
    }
    for id in &ended {
        world.say(*id, CommandState::Completed).await.expect("open");
        caller.end(*id).await;
    }
    first.kill();
    // The deadline of the open one is in the year 2100.
    world.execute("UPDATE commands SET run_by = 4102444800000000 WHERE ended = 0").await;

    let second = world.start_alone().await;
    world.hand.advance(DAY * 89);
    world.hand.advance(Duration::from_secs(600));
    let later = world.person(Role::Admin).at(&second);
    let last = later.send("ReadDTC", MOTOR).await;
    world.script.has(last).await;
    world.say(last, CommandState::Completed).await.expect("open");
    later.end(last).await;
    assert_eq!(
        world.count("SELECT COUNT(*) FROM commands WHERE ended = 1").await,
        4,
        "after 89 days nothing is removed"
    );

    world.hand.advance(DAY * 2);
    eventually("three of four to be removed", 20, || async {
        world.hand.advance(Duration::from_secs(600));
        (world.count("SELECT COUNT(*) FROM commands WHERE ended = 1").await == 1).then_some(())
    })
    .await;
    let left =
        world.count("SELECT COUNT(*) FROM command_events WHERE command_id NOT IN (SELECT id FROM commands)").await;
    assert_eq!(left, 0, "their events are removed too");
    let admin = world.person(Role::Admin).at(&second);
    assert_eq!(admin.get(last).await.id, last.to_string());
    assert!(admin.get(open).await.completed_at.is_none(), "it has not ended");
    world.say(open, CommandState::Completed).await.expect("open");
    admin.end(open).await;
}
