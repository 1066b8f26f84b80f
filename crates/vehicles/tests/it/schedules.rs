//! Random schedules: every command has one end, and the archive equals the topic.

use std::time::Duration;

use proptest::prelude::*;
use turnpike_event::CommandState;
use turnpike_proto::vehicle::v1 as pb;
use turnpike_testkit::Database;
use turnpike_token::Role;

use crate::{
    caller::{MOTOR, State},
    script::OnCancel,
    world::World,
};

#[derive(Clone, Copy, Debug)]
enum Step {
    Begin,
    Answer,
    Complete,
    Fail,
    /// The clock advances by this number of seconds.
    Pass(u64),
    Cancel,
    Stop,
    Kill,
    /// The connector starts a new incarnation.
    Reborn,
    /// Tasks run for a short time.
    Yield(u8),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::Begin),
        3 => Just(Step::Answer),
        1 => Just(Step::Complete),
        1 => Just(Step::Fail),
        2 => (0_u64..12).prop_map(Step::Pass),
        1 => Just(Step::Cancel),
        1 => Just(Step::Stop),
        1 => Just(Step::Kill),
        1 => Just(Step::Reborn),
        3 => (0_u8..40).prop_map(Step::Yield),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_schedule_ends_once_and_its_topic_is_archived(
        steps in prop::collection::vec(any_step(), 0..14),
        is_unsafe: bool,
        refuses: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        runtime.block_on(play(&steps, is_unsafe, refuses));
    }
}

async fn play(steps: &[Step], is_unsafe: bool, refuses: bool) {
    let world = World::new(Database::sqlite());
    world.script.on_cancel(if refuses { OnCancel::Refuse } else { OnCancel::Stop });
    let mut instance = world.start().await;
    let person = world.person(Role::Engineer);
    let caller = person.at(&instance);
    let name = if is_unsafe { "ECUReset" } else { "ReadDTC" };
    let request = pb::SubmitCommandRequest { timeout_seconds: 10, ..caller.request(name, MOTOR).await };
    let id = caller.submit(request).await.expect("accepted").command.expect("a command").id.parse().expect("an id");
    let (mut answers, mut incarnations) = (0, 1);
    let mut waiting = Vec::new();
    for step in steps {
        // The bus refuses what the connector publishes after the end.
        match *step {
            Step::Begin => drop(world.say(id, CommandState::InProgress).await),
            Step::Answer => {
                answers += 1;
                drop(world.answer(id, answers).await);
            }
            Step::Complete => drop(world.say(id, CommandState::Completed).await),
            Step::Fail => drop(world.say(id, CommandState::Failed).await),
            Step::Pass(seconds) => world.hand.advance(Duration::from_secs(seconds)),
            Step::Cancel => {
                let caller = person.at(&instance);
                waiting.push(tokio::spawn(async move { drop(caller.cancel(id).await) }));
            }
            Step::Stop => {
                instance.stop().await;
                instance = world.start().await;
            }
            Step::Kill => {
                instance.kill();
                instance = world.start().await;
            }
            Step::Reborn => {
                incarnations += 1;
                world.script.die();
                world.script.revive(&format!("incarnation {incarnations}"));
            }
            Step::Yield(times) => {
                for _ in 0..times {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    let caller = person.at(&instance);
    let end = world.pushing(caller.end(id)).await;
    for asked in waiting {
        asked.abort();
    }

    let story = caller.summary(&world, id).await;
    let ends = story.iter().filter(|word| word.ends_with('.')).count();
    assert_eq!((ends, story.last().is_some_and(|word| word.ends_with('.'))), (1, true), "{story:?}");
    let said = story.last().expect("an end").trim_end_matches('.');
    let state = end.state().as_str_name().trim_start_matches("COMMAND_STATE_").to_lowercase();
    let shown = if end.state() == State::Rejected { "failed".to_owned() } else { state };
    assert_eq!(shown, said, "{story:?}");
    assert!(world.script.times(id) <= if is_unsafe { 1 } else { 3 * (steps.len() + 1) }, "nothing unsafe runs twice");
    assert!(person.at(&instance).try_send("ECUReset", MOTOR).await.is_ok(), "the control unit is free");
}
