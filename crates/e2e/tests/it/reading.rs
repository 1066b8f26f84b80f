//! A client that has received a command's final frame finds the final state and all responses in the API.

use serde_json::{Value, json};
use turnpike_testkit::{Person, SingleProcess, Stack};

const RUNS: usize = 200;

#[tokio::test]
async fn the_api_has_every_frame_that_a_client_has_received() {
    let turnpike = SingleProcess::start(&[("TURNPIKE_MOCK_DELAY_MS", "0")]).await;
    let admin = turnpike.admin().await;
    check_api_after_final_frame(&admin, &admin).await;
}

/// Commands are submitted at one gateway and read at the other.
#[tokio::test]
async fn the_api_of_another_gateway_has_every_frame_that_a_client_has_received() {
    let stack = Stack::start(2, &[("TURNPIKE_MOCK_DELAY_MS", "0")]).await;
    let here = stack.admin(0).await;
    let there = here.at(stack.url(1));
    check_api_after_final_frame(&here, &there).await;
}

async fn check_api_after_final_frame(here: &Person, there: &Person) {
    let vehicle = &here.vehicles().await[0];
    let (mut old_states, mut missing_responses) = (0, 0);
    for run in 0..RUNS {
        let id = here.send_command(vehicle, "ReadDTC", json!({ "ecuAddress": "0x10" })).await;
        let (frames, _) = there.watch(&id).await.until_closed().await;
        let received = frames.iter().filter(|frame| frame["event"] == "response").count();
        let last = &frames.last().expect("frames")["status"];
        // The order of the two requests alternates, because the first request may wait until the archive is complete.
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
        missing_responses += usize::from(responses != received);
    }
    assert_eq!((old_states, missing_responses), (0, 0), "of {RUNS} runs");
}
