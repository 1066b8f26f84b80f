//! `/api/chat`: conversations, messages, searches, personas, exports, models and usage.

use serde_json::json;
use turnpike_fault::{Fault, Kind};
use turnpike_proto::chat::v1 as pb;
use turnpike_token::Role;

use crate::gateway::Gateway;

pub const CONVERSATION: &str = "01890000-0000-7000-8000-000000000004";
pub const MESSAGE: &str = "01890000-0000-7000-8000-000000000005";

fn conversation() -> pb::Conversation {
    pb::Conversation { id: CONVERSATION.to_owned(), title: "New Conversation".to_owned(), ..Default::default() }
}

fn message(id: &str, role: &str, content: &str) -> pb::Message {
    pb::Message {
        id: id.to_owned(),
        conversation_id: CONVERSATION.to_owned(),
        role: role.to_owned(),
        content: content.to_owned(),
        state: pb::MessageState::Complete.into(),
        version: 1,
        versions: 1,
        ..Default::default()
    }
}

#[tokio::test]
async fn a_conversation_is_created_with_or_without_a_body() {
    let gateway = Gateway::start().await;
    let response = pb::CreateConversationResponse { conversation: Some(conversation()), replayed: true };
    gateway.chat.respond::<pb::CreateConversationRequest, _>(response);
    let caller = gateway.caller(Role::User);
    let request = caller.request(reqwest::Method::POST, "/api/chat/conversations").header("idempotency-key", "k");
    let answer = caller.send(request).await;
    assert_eq!((answer.status, &answer.json["title"]), (200, &json!("New Conversation")), "{}", answer.text);
    assert_eq!(answer.headers["idempotency-replayed"], "true");
    assert_eq!(answer.json["persona_id"], json!(null));
    let answer = caller.post("/api/chat/conversations", json!({ "title": "Brakes", "color": "red" })).await;
    assert_eq!(answer.status, 200, "unknown fields are ignored: {}", answer.text);
    let [first, second] = gateway.chat.received::<pb::CreateConversationRequest>().try_into().expect("two requests");
    assert_eq!((first.title.as_str(), first.idempotency_key.as_str()), ("", "k"));
    assert_eq!((second.title.as_str(), second.idempotency_key.as_str()), ("Brakes", ""));
    assert_eq!(gateway.chat.authorization::<pb::CreateConversationRequest>(), format!("Bearer {}", caller.token));
    assert_eq!(gateway.anonymous().get("/api/chat/conversations").await.status, 401);
}

#[tokio::test]
async fn a_conversation_comes_with_its_newest_messages_and_a_link_to_those_before() {
    let gateway = Gateway::start().await;
    gateway.chat.respond::<pb::GetConversationRequest, _>(conversation());
    let mut failed = message(MESSAGE, "assistant", "It is");
    failed.state = pb::MessageState::Interrupted.into();
    failed.error_code = "INTERRUPTED".to_owned();
    failed.usage = Some(pb::Usage { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3, estimated: true });
    let oldest = "01890000-0000-7000-8000-000000000001";
    let page = pb::ListMessagesResponse { messages: vec![message(oldest, "user", "Why?"), failed], more: true };
    gateway.chat.respond::<pb::ListMessagesRequest, _>(page);
    let caller = gateway.caller(Role::User);
    let path = format!("/api/chat/conversations/{CONVERSATION}");
    let answer = caller.get(&path).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json["conversation"]["id"], CONVERSATION);
    let [question, reply] = [&answer.json["messages"][0], &answer.json["messages"][1]];
    assert_eq!((&question["role"], &question["state"]), (&json!("user"), &json!("complete")));
    assert_eq!((&reply["state"], &reply["error_code"]), (&json!("interrupted"), &json!("INTERRUPTED")));
    let usage = json!({ "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "estimated": true });
    assert_eq!((&reply["usage"], reply.get("timing")), (&usage, None));
    let link = format!(r#"<{path}/messages?limit=100&before={oldest}>; rel="next""#);
    assert_eq!(answer.headers["link"].to_str().expect("text"), link);

    let answer = caller.get(&format!("{path}/messages?limit=2&before={MESSAGE}")).await;
    assert_eq!(answer.json.as_array().map(Vec::len), Some(2), "{}", answer.text);
    let link = format!(r#"<{path}/messages?limit=2&before={oldest}>; rel="next""#);
    assert_eq!(answer.headers["link"].to_str().expect("text"), link);
    let [newest, page] = gateway.chat.received::<pb::ListMessagesRequest>().try_into().expect("two requests");
    assert_eq!((newest.limit, newest.before.as_str(), page.limit, page.before.as_str()), (100, "", 2, MESSAGE));
    for (query, field) in [("limit=0", "limit"), ("limit=101", "limit"), ("before=x", "before")] {
        let answer = caller.get(&format!("{path}/messages?{query}")).await;
        assert_eq!((answer.status, &answer.json["errors"][0]["field"]), (422, &json!(field)), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_conversation_of_another_user_is_not_found() {
    let gateway = Gateway::start().await;
    let fault = Fault::new(Kind::NotFound, "There is no such conversation");
    gateway.chat.fail::<pb::GetConversationRequest, pb::Conversation>(fault.clone());
    gateway.chat.fail::<pb::ListMessagesRequest, pb::ListMessagesResponse>(fault);
    let caller = gateway.caller(Role::User);
    let answer = caller.get(&format!("/api/chat/conversations/{CONVERSATION}")).await;
    assert_eq!((answer.status, &answer.json["code"]), (404, &json!("NOT_FOUND")));
    for path in ["x", "x/messages", &format!("{CONVERSATION}/messages/x/regenerate"), "x/stop"] {
        let path = format!("/api/chat/conversations/{path}");
        let answer = if path.ends_with('x') { caller.get(&path).await } else { caller.post(&path, json!({})).await };
        assert_eq!(answer.status, 404, "{path}");
    }
}

#[tokio::test]
async fn changes_distinguish_null_from_an_absent_field() {
    let gateway = Gateway::start().await;
    gateway.chat.respond::<pb::UpdateConversationRequest, _>(conversation());
    gateway.chat.respond::<pb::DeleteConversationRequest, _>(pb::DeleteConversationResponse {});
    let caller = gateway.caller(Role::User);
    let path = format!("/api/chat/conversations/{CONVERSATION}");
    assert_eq!(caller.patch(&path, json!({ "pinned": true, "persona_id": null })).await.status, 200);
    let [changes] = gateway.chat.received::<pb::UpdateConversationRequest>().try_into().expect("one request");
    assert_eq!((changes.title, changes.pinned), (None, Some(true)));
    assert_eq!((changes.persona_id, changes.system_prompt), (Some(String::new()), None));
    for (field, value) in [("pinned", json!("yes")), ("persona_id", json!(""))] {
        let answer = caller.patch(&path, json!({ field: value })).await;
        assert_eq!((answer.status, &answer.json["errors"][0]["field"]), (422, &json!(field)), "{}", answer.text);
    }
    let answer = caller.delete(&path).await;
    assert_eq!((answer.status, answer.json), (200, json!({ "message": "Conversation deleted" })));
}

#[tokio::test]
async fn search_results_have_snippets_with_marks() {
    let gateway = Gateway::start().await;
    let result = pb::SearchResult {
        conversation_id: CONVERSATION.to_owned(),
        conversation_title: "Brakes".to_owned(),
        message_id: MESSAGE.to_owned(),
        snippet: "the brakes".to_owned(),
        role: "user".to_owned(),
        marks: vec![pb::Mark { start: 4, length: 6 }],
        ..Default::default()
    };
    let response = pb::SearchResponse { results: vec![result], next_cursor: "c".to_owned() };
    gateway.chat.respond::<pb::SearchRequest, _>(response);
    let caller = gateway.caller(Role::User);
    let answer = caller.get("/api/chat/search?q=brak").await;
    let [result] = answer.json["results"].as_array().expect("results").as_slice() else { panic!("{}", answer.text) };
    assert_eq!((&result["message_snippet"], &result["marks"][0]["start"]), (&json!("the brakes"), &json!(4)));
    assert_eq!(answer.headers["link"], r#"</api/chat/search?q=brak&cursor=c>; rel="next""#);
    let answer = caller.get(&format!("/api/chat/search?q={}", "a".repeat(201))).await;
    assert_eq!((answer.status, &answer.json["errors"][0]["field"]), (422, &json!("q")));
}

#[tokio::test]
async fn personas_are_created_changed_and_deleted() {
    let gateway = Gateway::start().await;
    let persona = pb::Persona { id: MESSAGE.to_owned(), name: "Mechanic".to_owned(), ..Default::default() };
    let created = pb::CreatePersonaResponse { persona: Some(persona.clone()), replayed: false };
    gateway.chat.respond::<pb::CreatePersonaRequest, _>(created);
    gateway.chat.respond::<pb::UpdatePersonaRequest, _>(persona.clone());
    gateway.chat.respond::<pb::DeletePersonaRequest, _>(pb::DeletePersonaResponse {});
    gateway.chat.respond::<pb::ListPersonasRequest, _>(pb::ListPersonasResponse { personas: vec![persona] });
    let caller = gateway.caller(Role::User);
    let new = json!({ "name": "Mechanic", "temperature": 0.5, "system_wide": true });
    let answer = caller.post("/api/chat/personas", new).await;
    assert_eq!((answer.status, &answer.json["temperature"]), (201, &json!(null)), "{}", answer.text);
    let [request] = gateway.chat.received::<pb::CreatePersonaRequest>().try_into().expect("one request");
    assert_eq!((request.temperature, request.system_wide), (Some(0.5), true));
    let path = format!("/api/chat/personas/{MESSAGE}");
    for (temperature, expected) in [(json!(2), (Some(2.0), false)), (json!(null), (None, true))] {
        assert_eq!(caller.patch(&path, json!({ "temperature": temperature })).await.status, 200);
        let request = gateway.chat.received::<pb::UpdatePersonaRequest>().pop().expect("a request");
        assert_eq!((request.temperature, request.default_temperature), expected);
    }
    assert_eq!(caller.get("/api/chat/personas").await.json[0]["system_wide"], true);
    assert_eq!(caller.delete(&path).await.status, 204);
}

#[tokio::test]
async fn an_export_is_passed_on_as_it_arrives() {
    let gateway = Gateway::start().await;
    let parts = gateway.chat.stream::<pb::ExportRequest, pb::ExportPart>();
    for data in ["# Brakes\n", "\nWhy?"] {
        let part = pb::ExportPart { data: data.into(), ..Default::default() };
        parts.send(Ok(part)).await.expect("the call begins later");
    }
    drop(parts);
    let caller = gateway.caller(Role::User);
    let answer = caller.get(&format!("/api/chat/conversations/{CONVERSATION}/export?format=markdown")).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, "# Brakes\n\nWhy?"));
    assert_eq!(answer.headers["content-type"], "text/markdown; charset=utf-8");
    let name = format!("attachment; filename=\"conversation-{CONVERSATION}.md\"");
    assert_eq!(answer.headers["content-disposition"].to_str().expect("text"), name);
    let [request] = gateway.chat.received::<pb::ExportRequest>().try_into().expect("one request");
    assert_eq!(request.format(), pb::ExportFormat::Markdown);
    let answer = caller.get(&format!("/api/chat/conversations/{CONVERSATION}/export?format=pdf")).await;
    assert_eq!((answer.status, &answer.json["errors"][0]["field"]), (422, &json!("format")), "{}", answer.text);
}

#[tokio::test]
async fn an_admin_exports_all_conversations_one_a_line() {
    let gateway = Gateway::start().await;
    let path = "/api/admin/conversations/export?since=2026-11-21T00:00:00Z";
    assert_eq!(gateway.caller(Role::User).get(path).await.status, 403);
    let parts = gateway.chat.stream::<pb::ExportAllRequest, pb::ExportPart>();
    for (id, data) in [("a", "{\"n\":\n"), ("a", "1}"), ("b", "{}")] {
        let (conversation_id, user_id) = (id.to_owned(), "u".to_owned());
        let part = pb::ExportPart { conversation_id, user_id, data: data.into() };
        parts.send(Ok(part)).await.expect("the call begins later");
    }
    drop(parts);
    let answer = gateway.caller(Role::Admin).get(path).await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let lines = [
        r#"{"conversation_id":"a","user_id":"u","document":{"n": 1}}"#,
        r#"{"conversation_id":"b","user_id":"u","document":{}}"#,
        r#"{"complete":true}"#,
    ];
    assert_eq!(answer.text.lines().collect::<Vec<_>>(), lines);
}

#[tokio::test]
async fn models_are_listed_and_only_an_admin_loads_them() {
    let gateway = Gateway::start().await;
    let model = pb::Model { id: "m".to_owned(), server: 1, active: true, ..Default::default() };
    gateway.chat.respond::<pb::ListModelsRequest, _>(pb::ListModelsResponse { models: vec![model] });
    let fault = Fault::new(Kind::Conflict, "This server cannot load models").code_is("NOT_SUPPORTED");
    gateway.chat.fail::<pb::LoadModelRequest, pb::LoadModelResponse>(fault);
    gateway.chat.respond::<pb::UnloadModelRequest, _>(pb::UnloadModelResponse {});
    let (user, admin) = (gateway.caller(Role::User), gateway.caller(Role::Admin));
    assert_eq!(user.get("/api/chat/models").await.json[0]["id"], "m");
    assert_eq!(user.get("/api/admin/models").await.status, 403);
    assert_eq!(admin.get("/api/admin/models").await.json[0]["active"], true);
    assert_eq!(user.post("/api/admin/models/load", json!({ "model": "m" })).await.status, 403);
    let answer = admin.post("/api/admin/models/load", json!({ "model": "m" })).await;
    assert_eq!((answer.status, &answer.json["code"]), (409, &json!("NOT_SUPPORTED")));
    assert_eq!(admin.post("/api/admin/models/unload", json!({})).await.status, 200);
}

#[tokio::test]
async fn usage_is_shown_by_day_with_the_budgets() {
    let gateway = Gateway::start().await;
    let day = pb::UsageOfDay { day: "2026-11-21".to_owned(), prompt_tokens: 7, requests: 1, ..Default::default() };
    let budget = |limit| Some(pb::Budget { used: 7, limit, renews_at: None });
    let response = pb::GetUsageResponse { days: vec![day], day: budget(100), month: budget(0) };
    gateway.chat.respond::<pb::GetUsageRequest, _>(response);
    let answer = gateway.caller(Role::User).get("/api/chat/usage?since=2026-11-01").await;
    assert_eq!(answer.json["days"][0]["prompt_tokens"], 7, "{}", answer.text);
    assert_eq!((&answer.json["day"]["limit"], &answer.json["month"]["limit"]), (&json!(100), &json!(null)));
    let [request] = gateway.chat.received::<pb::GetUsageRequest>().try_into().expect("one request");
    assert_eq!((request.since.as_str(), request.user_id.as_str()), ("2026-11-01", ""));
}
