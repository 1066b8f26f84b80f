//! One thousand readers of answers, each cut several times at a random byte: the text of each is that of a reader who is not cut, byte
//! for byte, and the caller has the same events.

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use serde_json::Value;
use tokio::task::JoinSet;
use turnpike_testkit::{Person, Stack, within};

use crate::chat::{END, Events, conversation};

const ANSWERS: u64 = 10;
const READERS_OF_AN_ANSWER: u64 = 100;
const CUTS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_readers_that_are_cut_at_random_bytes_lose_and_repeat_nothing() {
    let stack = Stack::start(2, &[("TURNPIKE_LLM_SCRIPTED_DELAY_MS", "30")]).await;
    let ada = stack.admin(0).await;
    let gateways = [ada.clone(), ada.at(stack.url(1))];
    let mut cuts_while_it_ran = 0;
    for answer in 0..ANSWERS {
        let id = conversation(&ada).await;
        let mut caller = Events::ask(&ada, &id, "Write 60 words about brakes 🛑").await;
        caller.until("started").await;
        let mut readers = JoinSet::new();
        for reader in 0..READERS_OF_AN_ANSWER {
            let (gateways, id) = (gateways.clone(), id.clone());
            let seed = answer * READERS_OF_AN_ANSWER + reader;
            readers.spawn(async move { (seed, read_with_cuts(&gateways, &id, seed).await) });
        }
        let asked = caller.rest().await;
        let mut uncut = Events::follow(&ada, &id, None).await;
        uncut.until("message").await;
        let expected: String = uncut.text.split_inclusive("\n\n").filter(|event| of_the_answer(event)).collect();
        // While the bus is slow, which it can be on a busy machine, the caller gets its events before they have offsets, and deltas
        // that wait for the bus are joined.
        let of_the_caller = || asked.split_inclusive("\n\n").filter(|event| event.contains("data: "));
        match of_the_caller().all(of_the_answer) {
            true => assert_eq!(of_the_caller().collect::<String>(), expected),
            false => assert_eq!(joined(&asked), joined(&expected)),
        }
        while let Some(read) = within("the readers", 120, readers.join_next()).await {
            let (seed, (text, cuts)) = read.expect("no panic");
            assert_eq!(text, expected, "the reader with the seed {seed}");
            cuts_while_it_ran += cuts;
        }
    }
    assert!(cuts_while_it_ran > 0, "readers are cut while the model answers");
}

/// Reads a conversation's only answer; returns the events of the answer, and how many cuts came before its end.
async fn read_with_cuts(gateways: &[Person; 2], conversation: &str, seed: u64) -> (String, usize) {
    let mut random = SmallRng::seed_from_u64(seed);
    let (mut text, mut since, mut cuts) = (String::new(), None::<String>, 0);
    for _ in 0..CUTS {
        let gateway = &gateways[random.random_range(0..2)];
        let events = Events::follow(gateway, conversation, since.as_deref()).await;
        // The client keeps the events that it has to their end.
        for event in events.cut_after(random.random_range(1..6000)).await.split_inclusive("\n\n") {
            let Some(offset) = event.lines().find_map(|line| line.strip_prefix("id: ")) else { continue };
            since = Some(offset.to_owned());
            if of_the_answer(event) {
                text.push_str(event);
            }
        }
        if text.contains(END) {
            return (text, cuts);
        }
        cuts += 1;
    }
    let mut events = Events::follow(&gateways[random.random_range(0..2)], conversation, since.as_deref()).await;
    events.until("message").await;
    text.extend(events.text.split_inclusive("\n\n").filter(|event| of_the_answer(event)));
    (text, cuts)
}

/// The events without offsets and times, consecutive deltas as one.
fn joined(events: &str) -> Vec<Value> {
    let mut joined: Vec<Value> = Vec::new();
    for data in events.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let mut event: Value = serde_json::from_str(data).expect("JSON");
        event.as_object_mut().expect("an object").retain(|name, _| name != "offset" && name != "at");
        match joined.last_mut() {
            Some(last) if last["event"] == "delta" && event["event"] == "delta" => {
                let content = |event: &Value| event["content"].as_str().expect("a text").to_owned();
                last["content"] = (content(last) + &content(&event)).into();
            }
            _ => joined.push(event),
        }
    }
    joined
}

fn of_the_answer(event: &str) -> bool {
    event.starts_with("id: ") && event.contains("\"message_id\"")
}
