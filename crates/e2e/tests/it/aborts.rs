//! Aborted answers leave no memory behind: streams whose clients leave, and answers that are stopped.

use futures_util::{StreamExt, stream};
use reqwest::Method;
use serde_json::json;
use turnpike_testkit::{Person, SingleProcess, eventually};

use crate::chat::{Events, conversation};

/// Growth that is no leak: 8 KiB for each answer, which a task with its buffers exceeds.
const TOLERATED: u64 = 8 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_aborted_answers_leave_no_memory_behind() {
    let turnpike = SingleProcess::start(&[("TURNPIKE_LLM_SCRIPTED_DELAY_MS", "5"), ("TURNPIKE_LOG", "warn")]).await;
    let ada = turnpike.admin().await;
    abort(&ada, 200).await; // what is allocated once
    let before = memory(turnpike.process.id());
    abort(&ada, 1000).await;
    // The allocator returns memory late.
    eventually("the memory as before", 30, async || (memory(turnpike.process.id()) < before + TOLERATED).then_some(()))
        .await;
}

async fn abort(person: &Person, count: usize) {
    let answers = (0..count).map(async |n| if n % 2 == 0 { leave(person).await } else { stop(person).await });
    stream::iter(answers).buffer_unordered(4).collect::<()>().await;
}

/// Leaves a stream of `/v1` after its first chunk.
async fn leave(person: &Person) {
    let question = json!([{ "role": "user", "content": "Write 1000 words" }]);
    let request = person.request(Method::POST, "/v1/chat/completions");
    let request = request.json(&json!({ "messages": question, "stream": true }));
    let mut response = request.send().await.expect("a response");
    assert_eq!(response.status(), 200);
    assert!(response.chunk().await.expect("readable").is_some());
}

/// Stops an answer of the chat API, and deletes its conversation.
async fn stop(person: &Person) {
    let id = conversation(person).await;
    let path = format!("/api/chat/conversations/{id}");
    let mut events = Events::ask(person, &id, "Write 1000 words").await;
    events.until("delta").await;
    let stopped = person.post(&format!("{path}/stop"), json!({})).await;
    assert_eq!(stopped.status, 200, "{}", stopped.text);
    events.rest().await;
    assert_eq!(person.delete(&path).await.status, 200);
}

/// Memory of a process that is no file's, in bytes.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux says it");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}
