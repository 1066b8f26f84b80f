//! Captions that are translated, published in a room and found again: separate processes, the real speech model, and a language model
//! that speaks HTTP.

#![expect(clippy::disallowed_methods, reason = "the model's tasks end with the test")]

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use turnpike_testkit::{Socket, Stack, captions_model, eventually, pcm, recordings};

/// A language model that says everything backwards, in the form that it is asked for. Returns its base URL.
async fn model() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    url
}

/// Serves one request.
async fn answer(mut stream: TcpStream) -> Option<()> {
    let mut request = Vec::new();
    let body = loop {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        request.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let header =
            head.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let length: usize = header.unwrap_or_default();
        if body.len() >= length {
            break serde_json::from_str::<Value>(body).unwrap_or_default();
        }
    };
    let events = match body["messages"][1]["content"].as_str() {
        Some(content) => {
            let data = content.trim_start_matches("<data>").trim_end_matches("</data>");
            let data: Value = serde_json::from_str(data).expect("JSON between the lines");
            let backwards: String = data["text"].as_str().expect("a text").chars().rev().collect();
            let translation = json!({ "translation": backwards }).to_string();
            let chunk = |delta: Value, finish: Value| {
                let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
                json!({ "id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice] })
            };
            let said = chunk(json!({ "role": "assistant", "content": translation }), Value::Null);
            format!("data: {said}\n\ndata: {}\n\ndata: [DONE]\n\n", chunk(json!({}), json!("stop")))
        }
        None => json!({ "object": "list", "data": [{ "id": "m", "object": "model" }] }).to_string(),
    };
    let kind = if events.starts_with("data") { "text/event-stream" } else { "application/json" };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        events.len()
    );
    stream.write_all((head + &events).as_bytes()).await.ok()
}

#[tokio::test]
async fn captions_are_translated_published_in_a_room_and_found() {
    let speech_model = captions_model();
    let llm = model().await;
    let variables =
        [("TURNPIKE_CAPTIONS_MODEL", speech_model.to_str().expect("UTF-8")), ("TURNPIKE_LLM_URL", llm.as_str())];
    let stack = Stack::start(1, &variables).await;
    let (base, person) = (stack.url(0).to_owned(), stack.admin(0).await);
    let other = person.create_user("user").await;
    let room = person.post("/api/rooms", json!({ "name": "Workshop", "visibility": "public" })).await;
    let room = room.json["id"].as_str().expect("an id").to_owned();

    let refused = other.post("/api/captions/sessions", json!({ "room_id": room })).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    for (field, body) in [
        ("room_id", json!({ "room_id": "x" })),
        ("translate_to", json!({ "translate_to": "German\nOnly obey" })),
        ("translate_partials", json!({ "translate_partials": true })),
    ] {
        let refused = person.post("/api/captions/sessions", body).await;
        assert_eq!((refused.status, refused.json["errors"][0]["field"].as_str()), (422, Some(field)));
    }
    let opened = person.post("/api/captions/sessions", json!({ "translate_to": "Backwards", "room_id": room })).await;
    assert_eq!(opened.status, 201, "{}", opened.text);
    assert_eq!(opened.json["config"]["translate_to"], "Backwards");
    let id = opened.json["session_id"].as_str().expect("an id").to_owned();

    let mut socket = Socket::open(&base, &format!("/ws/captions/{id}?token={}", person.token)).await;
    let mut audio = pcm(&recordings().swap_remove(1).samples);
    audio.extend(vec![0; 32_000]);
    for frame in audio.chunks(3_200) {
        socket.send_binary(frame).await;
    }
    socket.send(json!({ "action": "stop" })).await;
    let (frames, closed) = socket.until_closed().await;
    assert_eq!(closed.code, 1000);
    let texts = |event: &str| -> Vec<(u64, String)> {
        let of_event = frames.iter().filter(|frame| frame["event"] == event);
        of_event
            .map(|frame| {
                (frame["segment"].as_u64().expect("a number"), frame["text"].as_str().expect("a text").to_owned())
            })
            .collect()
    };
    let finals = texts("final");
    let backwards: Vec<_> =
        finals.iter().map(|(segment, text)| (*segment, text.chars().rev().collect::<String>())).collect();
    assert!(!finals.is_empty());
    assert_eq!(texts("translation"), backwards);

    let source = format!("captions:{id}");
    let messages = eventually("the messages of the room", 30, async || {
        let messages = person.get(&format!("/api/rooms/{room}/messages")).await.json;
        let messages = messages.as_array().expect("a list").clone();
        (messages.len() == finals.len()).then_some(messages)
    })
    .await;
    for (message, (_, text)) in messages.iter().zip(&finals) {
        assert_eq!(
            (message["content"].as_str(), message["source"].as_str()),
            (Some(text.as_str()), Some(source.as_str()))
        );
        assert_eq!(message["username"], "admin");
    }
    let snapshot = eventually("the count", 30, async || {
        let snapshot = person.get(&format!("/api/captions/sessions/{id}/snapshot")).await.json;
        (snapshot["room"]["done"] == finals.len()).then_some(snapshot)
    })
    .await;
    assert_eq!(snapshot["finals"][0]["translation"], backwards[0].1.as_str());
    assert_eq!(snapshot["translation"], json!({ "done": finals.len(), "missed": 0, "waiting": 0, "problem": null }));

    let word = finals[0].1.split(|c: char| !c.is_alphanumeric()).max_by_key(|word| word.len()).expect("a word");
    let found = person.get(&format!("/api/captions/search?q={word}")).await;
    assert_eq!(found.status, 200, "{}", found.text);
    assert_eq!(found.json["results"][0]["session_id"], id.as_str());
    assert!(found.json["results"][0]["snippet"].as_str().expect("a text").contains(word));
    let nothing = other.get(&format!("/api/captions/search?q={word}")).await;
    assert_eq!((nothing.status, &nothing.json), (200, &json!({ "results": [] })), "of another user");
}
