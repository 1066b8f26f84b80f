//! Deadlines, and ends that come too late: the first final event on the topic is the end.

use std::time::Duration;

use turnpike_event::CommandState;
use turnpike_testkit::Database;
use turnpike_token::Role;

use crate::{
    caller::{MOTOR, State},
    script::OnExecute,
    world::World,
};

turnpike_testkit::on_both!(
    a_read_times_out_and_an_unsafe_command_ends_unknown,
    an_unsafe_command_that_was_dispatched_and_not_accepted_ends_unknown,
    a_late_answer_changes_nothing,
    a_deadline_changes_nothing_after_an_answer,
    the_first_final_event_is_the_end,
    a_command_does_not_end_before_its_deadline,
);

const TIMEOUT: Duration = Duration::from_secs(30);

async fn a_read_times_out_and_an_unsafe_command_ends_unknown(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Engineer).at(&instance);
    for begun in [false, true] {
        for (name, end) in [("ReadDTC", "timed_out"), ("ClearDTC", "timed_out"), ("ECUReset", "unknown")] {
            let id = caller.send(name, MOTOR).await;
            world.script.has(id).await;
            caller.until(id, State::Dispatched).await;
            let mut story = vec!["pending".to_owned()];
            if begun {
                world.say(id, CommandState::InProgress).await.expect("open");
                caller.until(id, State::InProgress).await;
                story.push("in_progress".to_owned());
            }
            world.hand.advance(TIMEOUT);
            let ended = caller.end(id).await;
            assert_eq!(ended.state().as_str_name(), format!("COMMAND_STATE_{}", end.to_uppercase()), "{name}");
            story.push(format!("{end}."));
            assert_eq!(caller.summary(&world, id).await, story);
        }
    }
}

async fn an_unsafe_command_that_was_dispatched_and_not_accepted_ends_unknown(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Engineer).at(&instance);
    world.script.on_execute(OnExecute::Mute);
    let mut request = caller.request("ECUReset", MOTOR).await;
    request.timeout_seconds = 1;
    let command = caller.submit(request).await.expect("accepted").command.expect("a command");
    let id = command.id.parse().expect("an id");
    world.script.has(id).await;
    world.hand.advance(Duration::from_secs(1));
    let end = caller.end(id).await;
    assert_eq!(end.state(), State::Unknown, "the connector may have it, and it may have run");
    assert_eq!(world.script.times(id), 1);
}

async fn a_late_answer_changes_nothing(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Operator).at(&instance);
    let id = caller.send("ReadDTC", MOTOR).await;
    world.script.has(id).await;
    world.hand.advance(TIMEOUT);
    let end = caller.until(id, State::TimedOut).await;
    world.answer(id, 1).await.expect_err("closed");
    world.say(id, CommandState::Completed).await.expect_err("closed");
    assert_eq!(caller.get(id).await, end);
    assert_eq!(caller.summary(&world, id).await, ["pending", "timed_out."]);
}

async fn a_deadline_changes_nothing_after_an_answer(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Operator).at(&instance);
    let id = caller.send("ReadDTC", MOTOR).await;
    world.script.has(id).await;
    world.say(id, CommandState::Completed).await.expect("open");
    world.hand.advance(TIMEOUT);
    assert_eq!(caller.end(id).await.state(), State::Completed);
    assert_eq!(caller.summary(&world, id).await, ["pending", "completed."]);
}

async fn the_first_final_event_is_the_end(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Operator).at(&instance);
    let mut ends = Vec::new();
    for round in 0..25 {
        let id = caller.send("ReadDTC", MOTOR).await;
        world.script.has(id).await;
        // Both at once; in each round one of them starts a little earlier.
        let hand = world.hand.clone();
        let deadline = tokio::spawn(async move {
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            hand.advance(TIMEOUT);
        });
        for _ in 0..25 - round {
            tokio::task::yield_now().await;
        }
        let won = world.say(id, CommandState::Completed).await.is_ok();
        deadline.await.expect("no panic");
        let end = caller.end(id).await.state();
        assert_eq!(end, if won { State::Completed } else { State::TimedOut }, "round {round}");
        let story = caller.summary(&world, id).await;
        assert_eq!(story.iter().filter(|word| word.ends_with('.')).count(), 1, "{story:?}");
        ends.push(won);
    }
}

async fn a_command_does_not_end_before_its_deadline(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = world.person(Role::Operator).at(&instance);
    let mut request = caller.request("ReadDTC", MOTOR).await;
    request.timeout_seconds = 3600;
    let command = caller.submit(request).await.expect("accepted").command.expect("a command");
    let id = command.id.parse().expect("an id");
    world.script.has(id).await;
    world.hand.advance(Duration::from_micros(3_599_999_999));
    world.say(id, CommandState::InProgress).await.expect("the topic is still open");
    caller.until(id, State::InProgress).await;
    world.hand.advance(Duration::from_micros(1));
    caller.until(id, State::TimedOut).await;
}
