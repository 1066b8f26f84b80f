//! Refused requests and sockets: credentials, roles, origins, other users' resources.

use serde_json::{Value, json};
use turnpike_testkit::{Person, SingleProcess, Socket};

async fn refusal_reason(base: &str, path: &str) -> String {
    let (frames, closed) = Socket::open(base, path).await.until_closed().await;
    assert!(frames.is_empty(), "no frame before the refusal: {frames:?}");
    assert_eq!(closed.code, 1008);
    closed.reason
}

#[tokio::test]
async fn the_socket_of_a_command_names_the_reason_of_a_refusal() {
    let turnpike = SingleProcess::start(&[]).await;
    let (url, admin) = (turnpike.url(), turnpike.admin().await);
    let vehicle = &admin.vehicles().await[0];
    let operator = admin.create_user("operator").await;
    let id = operator.send_command(vehicle, "ReadDTC", json!({ "ecuAddress": "0x10" })).await;
    let path = |id: &str, token: &str| format!("/ws/responses/{id}?token={token}");

    assert_eq!(refusal_reason(url, &format!("/ws/responses/{id}")).await, "Missing authentication token");
    assert_eq!(refusal_reason(url, &path(&id, "")).await, "Missing authentication token");
    for bad in ["nonsense", "a.b.c", &admin.token[..admin.token.len() - 2], &with_wrong_signature(&admin.token)] {
        assert_eq!(refusal_reason(url, &path(&id, bad)).await, "Invalid authentication token", "{bad}");
    }
    let other_user = admin.create_user("operator").await;
    assert_eq!(refusal_reason(url, &path(&id, &other_user.token)).await, "Not found", "another user's command");
    assert_eq!(refusal_reason(url, &path("01a1fcbc-ee37-76ae-a15d-624a758a99f6", &admin.token)).await, "Not found");
    assert_eq!(refusal_reason(url, &path("nonsense", &admin.token)).await, "Not found");
    let (frames, closed) = Socket::open(url, &path(&id, &admin.token)).await.until_closed().await;
    assert_eq!((frames.is_empty(), closed.code), (false, 1000), "an admin may follow every command");

    // After its account is deactivated, a token that has not expired is refused.
    let user = format!("/api/admin/users/{}", operator.id());
    let mut open = Socket::open(url, &format!("/ws?token={}", operator.token)).await;
    assert_eq!(open.frame().await["event"], "hello");
    assert_eq!(admin.patch(&user, json!({ "active": false })).await.status, 200);
    let (_, closed) = open.until_closed().await;
    assert_eq!((closed.code, closed.reason.as_str()), (4401, "User account is inactive"), "its session ended");
    assert_eq!(refusal_reason(url, &path(&id, &operator.token)).await, "User account is inactive");
    assert_eq!(operator.get("/api/auth/me").await.status, 401);
}

/// A well-formed token whose claims do not match its signature.
fn with_wrong_signature(token: &str) -> String {
    let parts: Vec<_> = token.split('.').collect();
    let mut payload: Vec<char> = parts[1].chars().collect();
    payload.swap(20, 21);
    format!("{}.{}.{}", parts[0], payload.into_iter().collect::<String>(), parts[2])
}

#[tokio::test]
async fn the_end_of_a_session_closes_only_its_own_sockets() {
    let turnpike = SingleProcess::start(&[]).await;
    let admin = turnpike.admin().await;
    let first_session = admin.create_user("user").await;
    let mut first_socket = first_session.socket().await;
    assert_eq!(first_socket.frame().await["event"], "hello");
    let second_session = Person::sign_in(
        turnpike.url(),
        first_session.user["username"].as_str().expect("a name"),
        turnpike_testkit::ADMIN_PASSWORD,
    )
    .await;
    let mut ending = second_session.socket().await;
    assert_eq!(ending.frame().await["event"], "hello");

    assert_eq!(second_session.post("/api/auth/logout", json!({})).await.json["message"], "Logout successful");
    let (_, closed) = ending.until_closed().await;
    assert_eq!(closed.code, 4401);
    assert_eq!(second_session.get("/api/auth/me").await.status, 401, "its access token is refused at once");
    first_socket.send(json!({ "action": "ping", "id": 7 })).await;
    assert_eq!(first_socket.frame().await, json!({ "event": "pong", "id": 7 }));
}

#[tokio::test]
async fn http_refusals_have_the_status_code_and_field_of_the_contract() {
    let turnpike = SingleProcess::start(&[]).await;
    let admin = turnpike.admin().await;
    let vehicle = admin.vehicles().await[0].clone();
    let (user, operator) = (admin.create_user("user").await, admin.create_user("operator").await);
    let anonymous = Person::anonymous(turnpike.url());

    let command = |name: &str, params: Value| json!({ "vehicle_id": vehicle["id"], "command_name": name, "command_params": params });
    let valid = command("ReadDTC", json!({ "ecuAddress": "0x10" }));
    let id = admin.send_command(&vehicle, "ReadDTC", json!({ "ecuAddress": "0x10" })).await;
    let expect = async |answer: turnpike_testkit::Answer, status: u16, code: &str, field: &str| {
        assert_eq!(answer.status, status, "{}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.json["code"], code, "{}", answer.text);
        assert_eq!(answer.json["status"], status);
        assert_eq!(answer.json["request_id"], answer.headers["x-request-id"].to_str().expect("text"));
        if !field.is_empty() {
            assert_eq!(answer.json["errors"][0]["field"], field, "{}", answer.text);
        }
    };
    expect(anonymous.post("/api/commands", json!("no matter what")).await, 401, "UNAUTHENTICATED", "").await;
    expect(user.post("/api/commands", json!({})).await, 403, "FORBIDDEN", "").await;
    let unsafe_ = command("ECUReset", json!({ "ecuAddress": "0x10" }));
    expect(operator.post("/api/commands", unsafe_).await, 403, "FORBIDDEN", "").await;
    expect(operator.get(&format!("/api/commands/{id}")).await, 404, "NOT_FOUND", "").await;
    expect(operator.get("/api/commands/nonsense").await, 404, "NOT_FOUND", "").await;
    expect(operator.get("/api/admin/users").await, 403, "FORBIDDEN", "").await;
    expect(operator.post("/api/admin/users", json!("no matter what")).await, 403, "FORBIDDEN", "").await;
    let mut body = valid.clone();
    body["vehicle_id"] = "nonsense".into();
    expect(operator.post("/api/commands", body).await, 400, "UNKNOWN_VEHICLE", "vehicle_id").await;
    expect(operator.post("/api/commands", command("Fly", json!({}))).await, 400, "UNKNOWN_COMMAND", "command_name")
        .await;
    let wrong = command("ReadDTC", json!({ "ecuAddress": "10" }));
    expect(operator.post("/api/commands", wrong).await, 400, "INVALID_PARAMETERS", "command_params.ecuAddress").await;
    let mut body = valid.clone();
    body["timeout_seconds"] = 3601.into();
    expect(operator.post("/api/commands", body).await, 422, "VALIDATION", "timeout_seconds").await;
    let mut body = valid.clone();
    body["surprise"] = 1.into();
    expect(operator.post("/api/commands", body).await, 422, "VALIDATION", "surprise").await;
    expect(operator.post("/api/commands", json!({ "vehicle_id": "x" })).await, 422, "VALIDATION", "command_name").await;
    let list = json!([vehicle["id"], "ReadDTC", { "ecuAddress": "0x10" }, 5]);
    expect(operator.post("/api/commands", list).await, 422, "VALIDATION", "body").await;
    expect(operator.get("/api/topics/%ff/events").await, 404, "NOT_FOUND", "").await;
    expect(operator.get("/api/vehicles?search=%00").await, 422, "VALIDATION", "search").await;
    expect(operator.get("/api/vehicles?limit=101").await, 422, "VALIDATION", "limit").await;
    expect(operator.get("/api/vehicles?limit=x").await, 422, "VALIDATION", "limit").await;
    expect(
        anonymous.post("/api/auth/login", json!({ "email": "a@b", "password": "x" })).await,
        401,
        "INVALID_CREDENTIALS",
        "",
    )
    .await;
    expect(anonymous.get("/nowhere").await, 404, "NOT_FOUND", "").await;
    expect(anonymous.request_text("PUT", "/api/auth/me").await, 405, "METHOD_NOT_ALLOWED", "").await;
}

#[tokio::test]
async fn the_cookie_is_accepted_only_from_the_same_origin() {
    let turnpike = SingleProcess::start(&[]).await;
    let anonymous = Person::anonymous(turnpike.url());
    let login = json!({ "username": "admin", "password": turnpike_testkit::ADMIN_PASSWORD });
    let answer = anonymous.post("/api/auth/login", login).await;
    let cookie = answer.headers["set-cookie"].to_str().expect("text").to_owned();
    for part in ["session_token=", "HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=86400"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let cookie = cookie.split(';').next().expect("a value").to_owned();
    let with = |method: reqwest::Method, path: &str, headers: &[(&str, &str)]| {
        let mut request = anonymous.request(method, path).header("cookie", &cookie);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let anonymous = anonymous.clone();
        async move { anonymous.send(request).await.status }
    };
    use reqwest::Method;
    assert_eq!(with(Method::GET, "/api/auth/me", &[]).await, 200);
    assert_eq!(with(Method::POST, "/api/auth/tickets", &[]).await, 403);
    assert_eq!(with(Method::POST, "/api/auth/tickets", &[("origin", "https://evil.example")]).await, 403);
    assert_eq!(with(Method::POST, "/api/auth/tickets", &[("sec-fetch-site", "cross-site")]).await, 403);
    assert_eq!(with(Method::POST, "/api/auth/tickets", &[("sec-fetch-site", "same-origin")]).await, 201);
    assert_eq!(with(Method::POST, "/api/auth/tickets", &[("origin", turnpike.url())]).await, 201);

    // Another site can neither sign the user out nor sign the user in to another account.
    assert_eq!(with(Method::POST, "/api/auth/logout", &[("origin", "https://evil.example")]).await, 200);
    assert_eq!(with(Method::GET, "/api/auth/me", &[]).await, 200, "still signed in");
    let login = json!({ "username": "admin", "password": turnpike_testkit::ADMIN_PASSWORD });
    let cross_site =
        anonymous.request(Method::POST, "/api/auth/login").json(&login).header("origin", "https://evil.example");
    assert!(!anonymous.send(cross_site).await.headers.contains_key("set-cookie"));

    let socket = |origin: Option<String>| {
        let (base, cookie) = (turnpike.url().to_owned(), cookie.clone());
        async move {
            let mut headers = vec![("cookie", cookie.as_str())];
            headers.extend(origin.as_deref().map(|origin| ("origin", origin)));
            Socket::open_with(&base, "/ws", &headers).await.map(|_| ())
        }
    };
    assert_eq!(socket(Some(turnpike.url().to_owned())).await, Ok(()));
    assert_eq!(socket(Some("https://evil.example".to_owned())).await, Err(403), "before the upgrade");
    assert_eq!(socket(None).await, Err(403));
    assert_eq!(Socket::open_with(turnpike.url(), "/ws", &[]).await.map(|_| ()), Err(401));
}

#[tokio::test]
async fn a_ticket_opens_one_socket() {
    let turnpike = SingleProcess::start(&[]).await;
    let admin = turnpike.admin().await;
    let answer = admin.post("/api/auth/tickets", json!({})).await;
    assert_eq!((answer.status, answer.json["expires_in"].as_u64()), (201, Some(30)));
    let protocols = format!("turnpike.v1, ticket.{}", answer.json["ticket"].as_str().expect("a ticket"));
    let open = async || Socket::open_with(turnpike.url(), "/ws", &[("sec-websocket-protocol", &protocols)]).await;
    let mut socket = open().await.expect("the first use is accepted");
    assert_eq!(socket.frame().await["event"], "hello");
    assert_eq!(open().await.map(|_| ()), Err(401), "the second use is refused");
}

#[tokio::test]
async fn the_log_contains_no_secret() {
    let turnpike = SingleProcess::start(&[("TURNPIKE_LOG", "debug")]).await;
    let admin = turnpike.admin().await;
    let vehicle = &admin.vehicles().await[0];
    let id = admin.send_command(vehicle, "ReadDTC", json!({ "ecuAddress": "0x10" })).await;
    admin.watch(&id).await.until_closed().await;
    refusal_reason(turnpike.url(), &format!("/ws/responses/{id}?token=a-wrong-token")).await;
    let log = turnpike.process.log();
    for secret in [admin.token.as_str(), &admin.refresh_token, turnpike_testkit::ADMIN_PASSWORD, "a-wrong-token"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
