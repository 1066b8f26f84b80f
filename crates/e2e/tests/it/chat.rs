//! Conversations with the built-in scripted model, in one process and in separate ones: an answer on several clients, cut and
//! resumed, stopped, generated again, and lost together with its process.

use reqwest::{Method, Response};
use serde_json::{Value, json};
use turnpike_testkit::{Answer, Person, SingleProcess, Stack, eventually, within};

/// Part of the last event of a complete answer.
pub const END: &str = "\"event\":\"message\"";

/// The events of an answer as they arrive: their bytes, without comments.
pub struct Events {
    response: Response,
    received: Vec<u8>,
    /// The events so far.
    pub text: String,
}

impl Events {
    pub async fn ask(person: &Person, conversation: &str, content: &str) -> Self {
        let path = format!("/api/chat/conversations/{conversation}/messages");
        Self::post(person, &path, json!({ "content": content })).await
    }

    pub async fn post(person: &Person, path: &str, body: Value) -> Self {
        Self::of(person.request(Method::POST, path).json(&body).send().await.expect("a response"))
    }

    /// The events of the conversation's topic after an offset.
    pub async fn follow(person: &Person, conversation: &str, since: Option<&str>) -> Self {
        let mut request = person.request(Method::GET, &format!("/api/topics/conversation:{conversation}/events"));
        if let Some(offset) = since {
            request = request.header("last-event-id", offset);
        }
        Self::of(request.send().await.expect("a response"))
    }

    fn of(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, received: Vec::new(), text: String::new() }
    }

    /// The next event that has data; `None` at the end.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            while let Some(end) = self.received.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.received.drain(..end + 2).collect();
                let event = String::from_utf8(event).expect("UTF-8");
                if let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) {
                    let frame = serde_json::from_str(data).expect("JSON");
                    self.text.push_str(&event);
                    return Some(frame);
                }
            }
            let chunk = within("an event", 30, self.response.chunk()).await.expect("readable")?;
            self.received.extend_from_slice(&chunk);
        }
    }

    /// Reads up to the first event with this name.
    pub async fn until(&mut self, name: &str) -> Value {
        loop {
            let frame = self.next().await.unwrap_or_else(|| panic!("no {name}: {}", self.text));
            if frame["event"] == name {
                return frame;
            }
        }
    }

    /// Receives this many bytes, or up to the end of the answer, then closes the connection. Returns the events that are complete.
    pub async fn cut_after(mut self, count: usize) -> String {
        let end = |received: &[u8]| received.windows(END.len()).rposition(|part| part == END.as_bytes());
        while self.received.len() < count && end(&self.received).is_none() {
            let chunk =
                within("an event", 30, self.response.chunk()).await.expect("readable").expect("the answer's end");
            self.received.extend_from_slice(&chunk);
        }
        self.received.truncate(count);
        let complete = self.received.windows(2).rposition(|two| two == b"\n\n").map_or(0, |end| end + 2);
        self.received.truncate(complete);
        String::from_utf8(self.received).expect("UTF-8")
    }

    /// All events to the end of the stream.
    pub async fn rest(mut self) -> String {
        while self.next().await.is_some() {}
        self.text
    }
}

pub async fn conversation(person: &Person) -> String {
    let answer = person.post("/api/chat/conversations", json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json["id"].as_str().expect("an id").to_owned()
}

async fn messages(person: &Person, conversation: &str) -> Vec<Value> {
    let answer = person.get(&format!("/api/chat/conversations/{conversation}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json["messages"].as_array().expect("messages").clone()
}

/// Only the events that have an offset, which are those of the topic.
fn numbered(text: &str) -> String {
    text.split_inclusive("\n\n").filter(|event| event.starts_with("id: ")).collect()
}

fn frames(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|text| serde_json::from_str(text).expect("JSON")).collect()
}

fn offset(frame: &Value) -> &str {
    frame["offset"].as_str().expect("an offset")
}

/// Checks that the events of an answer are its text in pieces, and then the whole text.
fn check_answer(text: &str) -> Value {
    let frames = frames(text);
    let (last, before) = frames.split_last().expect("events");
    assert_eq!(before[0]["event"], "started", "{text}");
    let deltas = before[1..].iter().map(|frame| {
        assert_eq!(frame["event"], "delta", "{text}");
        frame["content"].as_str().expect("content")
    });
    let said: String = deltas.collect();
    assert_eq!(last["event"], "message", "{text}");
    assert_eq!(last["content"], json!(said), "the pieces are the whole");
    last.clone()
}

#[tokio::test]
async fn a_question_is_answered_in_one_process() {
    let turnpike = SingleProcess::start(&[("TURNPIKE_LLM_SCRIPTED_DELAY_MS", "1")]).await;
    let admin = turnpike.admin().await;
    tell_the_story(&admin.create_user("user").await, &admin.create_user("user").await, &admin).await;
}

#[tokio::test]
async fn a_question_is_answered_by_separate_processes() {
    let stack = Stack::start(1, &[("TURNPIKE_LLM_SCRIPTED_DELAY_MS", "1")]).await;
    let admin = stack.admin(0).await;
    tell_the_story(&admin.create_user("user").await, &admin.create_user("user").await, &admin).await;
}

async fn tell_the_story(ada: &Person, other: &Person, admin: &Person) {
    let id = conversation(ada).await;
    let path = format!("/api/chat/conversations/{id}");
    let text = Events::ask(ada, &id, "Why do brakes squeal? 🛑").await.rest().await;
    let message = check_answer(&text);
    assert!(message["content"].as_str().is_some_and(|said| said.ends_with("Why do brakes squeal? 🛑")), "{message}");
    assert!(message["usage"]["total_tokens"].as_u64().is_some_and(|tokens| tokens > 20), "{message}");

    // The topic has the same bytes.
    let mut follower = Events::follow(ada, &id, None).await;
    follower.until("message").await;
    let answer_only = |text: &str| {
        let of_answer = |event: &&str| event.contains(message["message_id"].as_str().expect("an id"));
        numbered(text).split_inclusive("\n\n").filter(of_answer).collect::<String>()
    };
    assert_eq!(answer_only(&follower.text), text);

    // It is stored before the last event.
    let [question, stored] = messages(ada, &id).await.try_into().expect("two messages");
    assert_eq!((&question["role"], &question["content"]), (&json!("user"), &json!("Why do brakes squeal? 🛑")));
    assert_eq!((&stored["state"], &stored["content"]), (&json!("complete"), &message["content"]));
    assert_eq!((&stored["id"], &stored["usage"]), (&message["message_id"], &message["usage"]));
    assert_eq!(ada.get(&path).await.json["conversation"]["title"], "Why do brakes squeal? 🛑");

    // Another version; both are kept.
    let again = format!("{path}/messages/{}/regenerate", stored["id"].as_str().expect("an id"));
    check_answer(&Events::post(ada, &again, json!({})).await.rest().await);
    let newest = messages(ada, &id).await.pop().expect("a message");
    assert_eq!((&newest["version"], &newest["versions"]), (&json!(2), &json!(2)));
    let select = format!("{path}/messages/{}/select", stored["id"].as_str().expect("an id"));
    assert_eq!(ada.post(&select, json!({})).await.json["leaf_message_id"], stored["id"]);
    assert_eq!(messages(ada, &id).await.pop().expect("a message")["id"], stored["id"]);

    // A repeated request with the same key is the same answer.
    let keyed = async || {
        let request = ada.request(Method::POST, &format!("{path}/messages")).header("idempotency-key", "k");
        let Answer { headers, text, .. } = ada.send(request.json(&json!({ "content": "Again" }))).await;
        let last = frames(&text).pop().expect("events");
        (headers.contains_key("idempotency-replayed"), last["message_id"].clone(), last["content"].clone())
    };
    let (first, second) = (keyed().await, keyed().await);
    assert_eq!((first.0, second.0), (false, true));
    assert_eq!((first.1, first.2), (second.1, second.2));
    assert_eq!(messages(ada, &id).await.len(), 4, "the question is asked once");

    let found = ada.get("/api/chat/search?q=squeal").await.json;
    assert!(found["results"].as_array().is_some_and(|results| !results.is_empty()), "{found}");
    assert_eq!(other.get("/api/chat/search?q=squeal").await.json["results"], json!([]));
    let usage = ada.get("/api/chat/usage").await;
    assert_eq!((usage.status, &usage.json["days"][0]["requests"]), (200, &json!(3)), "{}", usage.text);
    let export = ada.get(&format!("{path}/export?format=markdown")).await;
    assert!(export.status == 200 && export.text.contains("squeal"), "{}", export.text);
    let exported = admin.get("/api/admin/conversations/export").await;
    assert!(exported.text.ends_with("{\"complete\":true}\n") && exported.text.contains(&id), "{}", exported.text);

    // Nobody else sees it.
    assert_eq!(other.get("/api/chat/conversations").await.json, json!([]));
    for (method, rest) in [("GET", ""), ("DELETE", ""), ("GET", "/messages"), ("POST", "/stop"), ("GET", "/export")] {
        assert_eq!(other.request_text(method, &format!("{path}{rest}")).await.status, 404, "{method} {rest}");
    }
    let asked = other.post(&format!("{path}/messages"), json!({ "content": "Me too" })).await;
    assert_eq!((asked.status, &asked.json["code"]), (404, &json!("NOT_FOUND")), "{}", asked.text);
    assert_eq!(other.get(&format!("/api/topics/conversation:{id}/events")).await.status, 404);

    let gone = ada.delete(&path).await;
    assert_eq!((gone.status, gone.json), (200, json!({ "message": "Conversation deleted" })));
    assert_eq!(ada.get(&path).await.status, 404);
}

#[tokio::test]
async fn a_cut_answer_is_resumed_on_another_gateway_byte_for_byte() {
    let stack = Stack::start(2, &[("TURNPIKE_LLM_SCRIPTED_DELAY_MS", "10")]).await;
    let ada = stack.admin(0).await;
    let id = conversation(&ada).await;
    let elsewhere = ada.at(stack.url(1));
    let mut follower = Events::follow(&elsewhere, &id, None).await;
    let mut events = Events::ask(&ada, &id, "Write 200 words").await;
    events.until("started").await;
    let mut last = Value::Null;
    for _ in 0..10 {
        last = events.until("delta").await;
    }
    let seen = std::mem::take(&mut events.text);
    drop(events);
    let mut resumed = Events::follow(&elsewhere, &id, Some(offset(&last))).await;
    resumed.until("message").await;
    follower.until("message").await;
    let whole = format!("{seen}{}", numbered(&resumed.text));
    check_answer(&whole);
    let of_answer = |event: &&str| event.contains("message_id");
    let followed: String = numbered(&follower.text).split_inclusive("\n\n").filter(of_answer).collect();
    assert_eq!(whole, followed, "two clients of two gateways have the same bytes");
}

#[tokio::test]
async fn a_running_answer_is_stopped_from_another_gateway() {
    let stack = Stack::start(2, &[("TURNPIKE_LLM_SCRIPTED_DELAY_MS", "20")]).await;
    let ada = stack.admin(0).await;
    let id = conversation(&ada).await;
    let path = format!("/api/chat/conversations/{id}");
    let mut events = Events::ask(&ada, &id, "Write 100000 words").await;
    events.until("delta").await;
    let elsewhere = ada.at(stack.url(1));
    let refused = elsewhere.post(&format!("{path}/messages"), json!({ "content": "And?" })).await;
    assert_eq!((refused.status, &refused.json["code"]), (409, &json!("ANSWER_RUNNING")), "{}", refused.text);
    let stopped = elsewhere.post(&format!("{path}/stop"), json!({})).await;
    assert_eq!(stopped.status, 200, "{}", stopped.text);
    let message = check_answer(&within("the end", 20, events.rest()).await);
    assert_eq!((&message["finish_reason"], &message["message_id"]), (&json!("stopped"), &stopped.json["message_id"]));
    let stored = messages(&ada, &id).await.pop().expect("a message");
    assert_eq!((&stored["state"], &stored["content"]), (&json!("stopped"), &message["content"]));
    let nothing = elsewhere.post(&format!("{path}/stop"), json!({})).await;
    assert_eq!((nothing.status, nothing.json), (200, json!({})));
}

#[tokio::test]
async fn the_client_of_a_killed_chat_service_gets_the_end_of_its_answer() {
    let mut stack = Stack::start(1, &[("TURNPIKE_LLM_SCRIPTED_DELAY_MS", "20")]).await;
    let ada = stack.admin(0).await;
    let id = conversation(&ada).await;
    let mut events = Events::ask(&ada, &id, "Write 100000 words").await;
    for _ in 0..5 {
        events.until("delta").await;
    }
    stack.chat.kill();
    stack.chat.start();
    let text = within("the end", 60, events.rest()).await;
    let frames = frames(&text);
    let ends = |frame: &&Value| frame["event"] == "error" || frame["event"] == "message";
    assert_eq!(frames.iter().filter(ends).count(), 1, "{text}");
    let last = frames.last().expect("events");
    assert_eq!((&last["event"], &last["error_code"]), (&json!("error"), &json!("INTERRUPTED")), "{text}");
    let stored = eventually("the stored message", 20, async || {
        let answer = ada.get(&format!("/api/chat/conversations/{id}")).await;
        answer.json["messages"].as_array()?.last().cloned().filter(|message| message["state"] == "interrupted")
    })
    .await;
    let said: String = frames.iter().filter_map(|frame| frame["content"].as_str()).collect();
    assert_eq!(stored["content"], json!(said), "the partial text is what was published");
}

#[tokio::test]
async fn clients_of_openai_use_the_scripted_model_in_one_process() {
    let turnpike = SingleProcess::start(&[("TURNPIKE_LLM_SCRIPTED_DELAY_MS", "1")]).await;
    use_the_api_of_openai(&turnpike.admin().await).await;
}

#[tokio::test]
async fn clients_of_openai_use_the_scripted_model_of_a_separate_process() {
    let stack = Stack::start(1, &[("TURNPIKE_LLM_SCRIPTED_DELAY_MS", "1")]).await;
    use_the_api_of_openai(&stack.admin(0).await).await;
}

async fn use_the_api_of_openai(ada: &Person) {
    let models = ada.get("/v1/models").await;
    let model = models.json["data"][0]["id"].as_str().expect("a model").to_owned();
    assert_eq!(ada.get(&format!("/v1/models/{model}")).await.json["object"], "model");
    let mut request = json!({ "model": model, "messages": [{ "role": "user", "content": "Write 5 words" }] });
    let whole = ada.post("/v1/chat/completions", request.clone()).await;
    assert_eq!(whole.status, 200, "{}", whole.text);
    let content = &whole.json["choices"][0]["message"]["content"];
    assert_eq!(
        (content, &whole.json["object"]),
        (&json!("word-1 word-2 word-3 word-4 word-5"), &json!("chat.completion"))
    );
    request["stream"] = true.into();
    let stream = ada.post("/v1/chat/completions", request.clone()).await;
    assert!(stream.text.ends_with("data: [DONE]\n\n"), "{}", stream.text);
    let pieces = frames(stream.text.trim_end_matches("data: [DONE]\n\n"));
    let said: String = pieces.iter().filter_map(|piece| piece["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(json!(said), *content);
    assert!(pieces.iter().all(|piece| piece.get("usage").is_none()), "usage is only sent if it is asked for");
    request["stream_options"] = json!({ "include_usage": true });
    let stream = ada.post("/v1/chat/completions", request).await;
    let pieces = frames(stream.text.trim_end_matches("data: [DONE]\n\n"));
    assert_eq!(pieces.last().expect("pieces")["usage"], whole.json["usage"]);

    let unknown = json!({ "model": "gpt-9", "messages": [{ "role": "user", "content": "Hi" }] });
    let answer = ada.post("/v1/chat/completions", unknown).await;
    assert_eq!((answer.status, answer.json["error"]["message"].is_string()), (404, true), "{}", answer.text);
    let answer = ada.send(ada.request(Method::POST, "/v1/chat/completions").body("no JSON")).await;
    assert_eq!((answer.status, &answer.json["error"]["param"]), (400, &json!("body")), "{}", answer.text);
    let embeddings = ada.post("/v1/embeddings", json!({ "input": "brakes" })).await;
    assert!(embeddings.json["data"][0]["embedding"].is_array(), "{}", embeddings.text);
    // The ledger is written beside the responses.
    eventually("the requests in the ledger", 20, async || {
        let usage = ada.get("/api/chat/usage").await.json;
        let requests = usage["days"].as_array()?.iter().filter_map(|day| day["requests"].as_u64());
        (requests.sum::<u64>() >= 3).then_some(())
    })
    .await;
}
