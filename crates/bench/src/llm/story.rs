//! A conversation with a real model, through gateways, auth and chat in separate processes: streamed, cut, resumed on a second
//! gateway, titled, counted, stopped. `./scripts/llm-story` starts the model's server and this program.

use reqwest::{Method, Response};
use serde_json::{Value, json};
use turnpike_testkit::{Person, Stack, eventually, within};

const QUESTION: &str = "Name three colours, and say where each of them can be seen in nature.";

/// Tells the story with the model of this server; ends with a panic if something does not hold.
pub(crate) async fn tell(url: &str, key: &str) {
    let mut variables = vec![("TURNPIKE_LLM_URL", url)];
    if !key.is_empty() {
        variables.push(("TURNPIKE_LLM_API_KEY", key));
    }
    let stack = Stack::start(2, &variables).await;
    let user = stack.admin(0).await.create_user("user").await;
    let elsewhere = user.at(stack.url(1));
    let model = Server { url: url.trim_end_matches("/v1").to_owned(), key: key.to_owned() };
    println!("started: two gateways, auth, chat and vehicles, each a process");

    let before = model.counts().await;
    let conversation = conversation(&user).await;
    cut_and_resume(&user, &elsewhere, &conversation).await;
    title(&elsewhere, &conversation).await;
    openai(&user).await;
    usage(&user, &model, before).await;
    stop(&user, &elsewhere, &conversation, &model).await;
    println!("all of it holds");
}

/// The tokens that the model's server has counted itself.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Counts {
    prompt: u64,
    completion: u64,
}

struct Server {
    url: String,
    key: String,
}

impl Server {
    async fn metric(&self, name: &str) -> u64 {
        let request = reqwest::Client::new().get(format!("{}/metrics", self.url)).bearer_auth(&self.key);
        let text = request.send().await.expect("the server answers").text().await.expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("llamacpp:{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().parse::<f64>().expect("a number") as u64
    }

    async fn counts(&self) -> Counts {
        // A token of a prompt is either computed or found in the cache.
        let prompt = self.metric("prompt_tokens_total").await + self.metric("prompt_tokens_cached_total").await;
        Counts { prompt, completion: self.metric("tokens_predicted_total").await }
    }
}

async fn conversation(user: &Person) -> String {
    let answer = user.post("/api/chat/conversations", json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json["id"].as_str().expect("an id").to_owned()
}

/// The events of an answer as they arrive: their bytes, without comments.
struct Events {
    response: Response,
    received: Vec<u8>,
    text: String,
}

impl Events {
    async fn ask(user: &Person, conversation: &str, content: &str) -> Self {
        let path = format!("/api/chat/conversations/{conversation}/messages");
        Self::of(user.request(Method::POST, &path).json(&json!({ "content": content })).timeout(LONG)).await
    }

    async fn follow(user: &Person, conversation: &str, since: Option<&str>) -> Self {
        let path = format!("/api/topics/conversation:{conversation}/events");
        let request = user.request(Method::GET, &path).timeout(LONG);
        Self::of(request.header("last-event-id", since.unwrap_or("start"))).await
    }

    async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.expect("a response");
        assert_eq!(response.status(), 200);
        Self { response, received: Vec::new(), text: String::new() }
    }

    /// Reads up to the first event with this name. Events without an offset, such as `caught_up`, are not part of the text.
    async fn until(&mut self, name: &str) -> Value {
        loop {
            while let Some(end) = self.received.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.received.drain(..end + 2).collect();
                let event = String::from_utf8(event).expect("UTF-8");
                let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) else { continue };
                let frame: Value = serde_json::from_str(data).expect("JSON");
                if frame["offset"].is_string() {
                    self.text.push_str(&event);
                }
                assert!(frame["event"] != "error" || name == "error", "{frame}");
                if frame["event"] == name {
                    return frame;
                }
            }
            let chunk = within("an event", 300, self.response.chunk()).await.expect("readable");
            self.received.extend_from_slice(&chunk.unwrap_or_else(|| panic!("no {name}: {}", self.text)));
        }
    }
}

/// A real model on a busy machine takes its time.
const LONG: std::time::Duration = std::time::Duration::from_secs(600);

async fn cut_and_resume(user: &Person, elsewhere: &Person, conversation: &str) {
    let mut first = Events::ask(user, conversation, QUESTION).await;
    let mut offset = String::new();
    for _ in 0..3 {
        let delta = first.until("delta").await;
        offset = delta["offset"].as_str().expect("an offset").to_owned();
    }
    let cut = first.text.clone();
    drop(first);
    let mut second = Events::follow(elsewhere, conversation, Some(&offset)).await;
    let last = second.until("message").await;
    let mut whole = Events::follow(user, conversation, None).await;
    whole.until("message").await;
    assert_eq!(cut + &second.text, whole.text, "the part before the cut and the part after it are the whole");
    let said: String =
        frames(&whole.text).filter(|frame| frame["event"] == "delta").map(|frame| content(&frame)).collect();
    assert_eq!(said, content(&last), "the pieces are the whole text");
    assert_eq!(last["usage"]["estimated"], json!(false), "{last}");
    let stored = user.get(&format!("/api/chat/conversations/{conversation}")).await;
    assert_eq!(stored.json["messages"][1]["content"], last["content"]);
    println!("cut after 3 pieces and resumed on the second gateway: {} bytes, identical", whole.text.len());
    println!("  the model said: {}", content(&last).chars().take(100).collect::<String>().replace('\n', " "));
}

fn content(frame: &Value) -> String {
    frame["content"].as_str().expect("content").to_owned()
}

fn frames(text: &str) -> impl Iterator<Item = Value> {
    text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
}

async fn title(user: &Person, conversation: &str) {
    let answer = user.get(&format!("/api/chat/conversations/{conversation}")).await;
    let title = "Name three colours, and say where each of them can be seen...";
    assert_eq!(answer.json["conversation"]["title"], title, "at most 60 characters of the first message");
    println!("title: {title}");
}

/// The same model through the OpenAI-compatible API.
async fn openai(user: &Person) {
    let body = json!({
        "model": "smollm2", "stream": true, "stream_options": { "include_usage": true }, "max_tokens": 8,
        "messages": [{ "role": "user", "content": "Say hello." }],
    });
    let request = user.request(Method::POST, "/v1/chat/completions").json(&body).timeout(LONG);
    let answer = user.send(request).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let counted = frames(&answer.text).find_map(|chunk| chunk["usage"]["completion_tokens"].as_u64());
    assert!(counted.is_some_and(|tokens| tokens > 0 && tokens <= 8), "{}", answer.text);
    assert!(answer.text.ends_with("data: [DONE]\n\n"), "{}", answer.text);
    println!("/v1/chat/completions: {} chunks", frames(&answer.text).count());
}

/// The ledger of tokens has what the model's server has counted.
async fn usage(user: &Person, model: &Server, before: Counts) {
    let (ledger, counted) = eventually("equal counts", 20, || async {
        let answer = user.get("/api/chat/usage").await;
        let sum = |field: &str| -> u64 {
            answer.json["days"].as_array().into_iter().flatten().filter_map(|day| day[field].as_u64()).sum()
        };
        let ledger = Counts { prompt: sum("prompt_tokens"), completion: sum("completion_tokens") };
        let now = model.counts().await;
        let counted = Counts { prompt: now.prompt - before.prompt, completion: now.completion - before.completion };
        (sum("requests") == 2 && ledger == counted && sum("estimated_tokens") == 0).then_some((ledger, counted))
    })
    .await;
    println!("usage: {ledger:?} in the ledger, {counted:?} counted by the model's server");
}

async fn stop(user: &Person, elsewhere: &Person, conversation: &str, model: &Server) {
    let mut events = Events::ask(user, conversation, "Tell me a very long story about a turnpike.").await;
    events.until("delta").await;
    let stop = elsewhere.post(&format!("/api/chat/conversations/{conversation}/stop"), json!({})).await;
    assert!(stop.status < 300, "{}", stop.text);
    let last = events.until("message").await;
    assert_eq!(last["finish_reason"], "stopped", "{last}");
    eventually("the model's server to be idle", 20, || async {
        (model.metric("requests_processing").await == 0).then_some(())
    })
    .await;
    let stored = user.get(&format!("/api/chat/conversations/{conversation}")).await;
    assert_eq!(stored.json["messages"][3]["content"], last["content"], "the text so far is kept");
    println!("stopped from the second gateway after {} characters; the model's server is idle", content(&last).len());
}
