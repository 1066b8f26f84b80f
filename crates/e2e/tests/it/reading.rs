//! Whoever has seen a command's final frame finds its end and its responses in the API.

use serde_json::{Value, json};
use turnpike_testkit::{Person, SingleProcess, Stack};

const RUNS: usize = 200;

#[tokio::test]
async fn the_api_has_what_a_watcher_has_seen() {
    let one = SingleProcess::start(&[("TURNPIKE_MOCK_DELAY_MS", "0")]).await;
    let admin = one.admin().await;
    none_lacks(&admin, &admin).await;
}

/// Commands are sent through one gateway and read through the other.
#[tokio::test]
async fn the_api_of_another_gateway_has_what_a_watcher_has_seen() {
    let stack = Stack::start(2, &[("TURNPIKE_MOCK_DELAY_MS", "0")]).await;
    let here = stack.admin(0).await;
    let there = here.at(stack.url(1));
    none_lacks(&here, &there).await;
}

async fn none_lacks(here: &Person, there: &Person) {
    let vehicle = &here.vehicles().await[0];
    let (mut old_states, mut missing_responses) = (0, 0);
    for run in 0..RUNS {
        let id = here.send_command(vehicle, "ReadDTC", json!({ "ecuAddress": "0x10" })).await;
        let (frames, _) = there.watch(&id).await.until_closed().await;
        let seen = frames.iter().filter(|frame| frame["event"] == "response").count();
        let last = &frames.last().expect("frames")["status"];
        // In one run the state is asked for first, in the next one the responses: the first question may do the waiting.
        let state = async || there.get(&format!("/api/commands/{id}")).await.json["status"].clone();
        let responses = async || {
            let page = there.get(&format!("/api/commands/{id}/responses?limit=100")).await.json;
            page.as_array().map_or(0, Vec::len)
        };
        let (state, responses): (Value, usize) = if run % 2 == 0 {
            let state = state().await;
            (state, responses().await)
        } else {
            let responses = responses().await;
            (state().await, responses)
        };
        old_states += usize::from(state != *last);
        missing_responses += usize::from(responses != seen);
    }
    assert_eq!((old_states, missing_responses), (0, 0), "of {RUNS} runs");
}
