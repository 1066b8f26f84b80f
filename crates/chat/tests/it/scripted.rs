//! The scripted model, through the same code as servers.

use std::time::Duration;

use serde_json::{Value, json};
use turnpike_testkit::Database;
use turnpike_token::Role;

use crate::{
    model_caller::{Caller, Endpoint},
    world::{Instance, World},
};

async fn start(delay: u32) -> (World, Instance, Caller) {
    let world = World::new(Database::sqlite()).with("TURNPIKE_LLM_SCRIPTED_DELAY_MS", delay);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    (world, instance, caller)
}

fn ask(content: &str) -> Value {
    json!({ "model": "turnpike-scripted", "messages": [{ "role": "user", "content": content }] })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_answers_in_full_and_as_a_stream() {
    let (_world, _instance, caller) = start(0).await;
    let models = caller.models().await.expect("a list");
    assert_eq!((models[0].id.as_str(), models[0].server, models[0].active), ("turnpike-scripted", 0, true));

    let mut request = ask("Hello");
    let mut answer = caller.forward(Endpoint::ChatCompletions, request.to_string()).await.expect("an answer");
    let whole = answer.json().await;
    let text = whole["choices"][0]["message"]["content"].as_str().expect("a text").to_owned();
    assert!(text.contains("scripted") && text.contains("TURNPIKE_LLM_URL") && text.ends_with("Hello"), "{text}");
    assert_eq!(whole["model"], "turnpike-scripted");

    request["stream"] = json!(true);
    request["stream_options"] = json!({ "include_usage": true });
    let mut answer = caller.forward(Endpoint::ChatCompletions, request.to_string()).await.expect("an answer");
    let stream = answer.rest().await;
    let data: Vec<&str> = stream.split_terminator("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
    assert_eq!(data.last(), Some(&"[DONE]"));
    let chunks: Vec<Value> =
        data[..data.len() - 1].iter().map(|data| serde_json::from_str(data).expect("JSON")).collect();
    let pieces = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
    assert_eq!(pieces.collect::<String>(), text);
    assert_eq!(chunks.last().expect("chunks")["usage"], whole["usage"]);
    assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_pauses_between_pieces() {
    let (world, _instance, caller) = start(1000).await;
    let mut request = ask("3 words");
    request["stream"] = json!(true);
    let asking = async {
        let mut answer = caller.forward(Endpoint::ChatCompletions, request.to_string()).await.expect("an answer");
        answer.rest().await
    };
    let began = world.clock.now();
    let stream = world.pushing(asking).await;
    assert!(stream.contains("word-3") && stream.ends_with("[DONE]\n\n"));
    assert!(world.clock.now().duration_since(began).unsigned_abs() >= Duration::from_secs(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_other_endpoints() {
    let (_world, _instance, caller) = start(0).await;
    let body = json!({ "prompt": "3 words", "max_tokens": 2 }).to_string();
    let answer = caller.forward(Endpoint::Completions, body).await.expect("an answer").json().await;
    assert_eq!(
        (&answer["choices"][0]["text"], &answer["choices"][0]["finish_reason"]),
        (&json!("word-1 word-2 "), &json!("length"))
    );
    let body = json!({ "input": ["a", "b"] }).to_string();
    let answer = caller.forward(Endpoint::Embeddings, body).await.expect("vectors").json().await;
    assert_eq!((answer["data"].as_array().map(Vec::len), &answer["model"]), (Some(2), &json!("turnpike-scripted")));

    for (endpoint, body, status) in [
        (Endpoint::Responses, json!({ "input": "Hi" }), 404),
        (Endpoint::ChatCompletions, json!({ "model": "gpt-4", "messages": [] }), 404),
        (Endpoint::ChatCompletions, json!({ "messages": [] }), 400),
        (Endpoint::Embeddings, json!({ "input": 1 }), 400),
    ] {
        let mut answer = caller.forward(endpoint, body.to_string()).await.expect("a response");
        assert_eq!((answer.status, answer.content_type.as_str()), (status, "application/json"));
        assert!(answer.json().await["error"]["message"].is_string());
    }
}
