//! Reading a command after its final event was seen: the end is archived by then, or the read waits for it.

use std::time::{Duration, Instant};

use turnpike_event::CommandState;
use turnpike_proto::vehicle::v1 as pb;
use turnpike_testkit::Database;
use turnpike_token::Role;

use crate::{
    caller::{MOTOR, State},
    world::World,
};

turnpike_testkit::on_both!(a_read_after_the_final_event_finds_the_end);

/// The supervisor cannot write while the final event is on the topic already. The read goes to its own service, and to another one.
async fn a_read_after_the_final_event_finds_the_end(database: Database) {
    let world = World::new(database);
    let (supervising, other) = (world.start().await, world.start().await);
    let person = world.person(Role::Operator);
    for instance in [&supervising, &other] {
        for responses in [false, true] {
            let id = person.at(&supervising).send("ReadDTC", MOTOR).await;
            world.script.has(id).await;
            person.at(&supervising).until(id, State::Dispatched).await;
            let lock = world.lock_commands().await;
            world.answer(id, 1).await.expect("open");
            world.say(id, CommandState::Completed).await.expect("open");
            let begun = Instant::now();
            let reading = tokio::spawn({
                let caller = person.at(instance);
                async move {
                    let request = pb::ListResponsesRequest { command_id: id.to_string(), ..Default::default() };
                    match responses {
                        true => caller.responses(request).await.expect("a page").responses.len() == 1,
                        false => caller.get_archived(id).await.state() == State::Completed,
                    }
                }
            });
            // Time in which a read that does not wait would return a wrong answer.
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(lock);
            let right = reading.await.expect("no panic");
            assert!(right || begun.elapsed() >= Duration::from_secs(1), "it waits for at most a second");
            person.at(&supervising).end(id).await;
        }
    }
}
