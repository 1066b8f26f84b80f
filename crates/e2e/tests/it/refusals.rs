//! Who is not let in, and how he is told.

use serde_json::{Value, json};
use turnpike_testkit::{Person, SingleProcess, Socket};

async fn refused(base: &str, path: &str) -> String {
    let (frames, closed) = Socket::open(base, path).await.until_closed().await;
    assert!(frames.is_empty(), "nothing was shown: {frames:?}");
    assert_eq!(closed.code, 1008);
    closed.reason
}

#[tokio::test]
async fn the_socket_of_a_command_refuses_as_the_contract_says() {
    let one = SingleProcess::start(&[]).await;
    let (url, admin) = (one.url(), one.admin().await);
    let vehicle = &admin.vehicles().await[0];
    let operator = admin.create_user("operator").await;
    let id = operator.send_command(vehicle, "ReadDTC", json!({ "ecuAddress": "0x10" })).await;
    let path = |id: &str, token: &str| format!("/ws/responses/{id}?token={token}");

    assert_eq!(refused(url, &format!("/ws/responses/{id}")).await, "Missing authentication token");
    assert_eq!(refused(url, &path(&id, "")).await, "Missing authentication token");
    for bad in ["nonsense", "a.b.c", &admin.token[..admin.token.len() - 2], &foreign(&admin.token)] {
        assert_eq!(refused(url, &path(&id, bad)).await, "Invalid authentication token", "{bad}");
    }
    let stranger = admin.create_user("operator").await;
    assert_eq!(refused(url, &path(&id, &stranger.token)).await, "Not found", "somebody else's");
    assert_eq!(refused(url, &path("01a1fcbc-ee37-76ae-a15d-624a758a99f6", &admin.token)).await, "Not found");
    assert_eq!(refused(url, &path("nonsense", &admin.token)).await, "Not found");
    let (frames, closed) = Socket::open(url, &path(&id, &admin.token)).await.until_closed().await;
    assert_eq!((frames.is_empty(), closed.code), (false, 1000), "an admin sees all");

    // An account that is switched off: its token is young, and its bearer is out.
    let user = format!("/api/admin/users/{}", operator.id());
    let mut open = Socket::open(url, &format!("/ws?token={}", operator.token)).await;
    assert_eq!(open.frame().await["event"], "hello");
    assert_eq!(admin.patch(&user, json!({ "active": false })).await.status, 200);
    let (_, closed) = open.until_closed().await;
    assert_eq!((closed.code, closed.reason.as_str()), (4401, "User account is inactive"), "its session ended");
    assert_eq!(refused(url, &path(&id, &operator.token)).await, "User account is inactive");
    assert_eq!(operator.get("/api/auth/me").await.status, 401);
}

/// A token of the right shape, signed by somebody else: here, the claims of one under the signature of another.
fn foreign(token: &str) -> String {
    let parts: Vec<_> = token.split('.').collect();
    let mut payload: Vec<char> = parts[1].chars().collect();
    payload.swap(20, 21);
    format!("{}.{}.{}", parts[0], payload.into_iter().collect::<String>(), parts[2])
}

#[tokio::test]
async fn a_session_that_ends_closes_its_sockets_and_only_those() {
    let one = SingleProcess::start(&[]).await;
    let admin = one.admin().await;
    let person = admin.create_user("user").await;
    let mut other_session = person.socket().await;
    assert_eq!(other_session.frame().await["event"], "hello");
    let again =
        Person::sign_in(one.url(), person.user["username"].as_str().expect("a name"), turnpike_testkit::ADMIN_PASSWORD)
            .await;
    let mut ending = again.socket().await;
    assert_eq!(ending.frame().await["event"], "hello");

    assert_eq!(again.post("/api/auth/logout", json!({})).await.json["message"], "Logout successful");
    let (_, closed) = ending.until_closed().await;
    assert_eq!(closed.code, 4401);
    assert_eq!(again.get("/api/auth/me").await.status, 401, "its access token is refused at once");
    other_session.send(json!({ "action": "ping", "id": 7 })).await;
    assert_eq!(other_session.frame().await, json!({ "event": "pong", "id": 7 }));
}

#[tokio::test]
async fn http_refuses_as_the_contract_says() {
    let one = SingleProcess::start(&[]).await;
    let admin = one.admin().await;
    let vehicle = admin.vehicles().await[0].clone();
    let (user, operator) = (admin.create_user("user").await, admin.create_user("operator").await);
    let stranger = Person::anonymous(one.url());

    let command = |name: &str, params: Value| json!({ "vehicle_id": vehicle["id"], "command_name": name, "command_params": params });
    let good = command("ReadDTC", json!({ "ecuAddress": "0x10" }));
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
    expect(stranger.post("/api/commands", json!("no matter what")).await, 401, "UNAUTHENTICATED", "").await;
    expect(user.post("/api/commands", json!({})).await, 403, "FORBIDDEN", "").await;
    let unsafe_ = command("ECUReset", json!({ "ecuAddress": "0x10" }));
    expect(operator.post("/api/commands", unsafe_).await, 403, "FORBIDDEN", "").await;
    expect(operator.get(&format!("/api/commands/{id}")).await, 404, "NOT_FOUND", "").await;
    expect(operator.get("/api/commands/nonsense").await, 404, "NOT_FOUND", "").await;
    expect(operator.get("/api/admin/users").await, 403, "FORBIDDEN", "").await;
    expect(operator.post("/api/admin/users", json!("no matter what")).await, 403, "FORBIDDEN", "").await;
    let mut body = good.clone();
    body["vehicle_id"] = "nonsense".into();
    expect(operator.post("/api/commands", body).await, 400, "UNKNOWN_VEHICLE", "vehicle_id").await;
    expect(operator.post("/api/commands", command("Fly", json!({}))).await, 400, "UNKNOWN_COMMAND", "command_name")
        .await;
    let wrong = command("ReadDTC", json!({ "ecuAddress": "10" }));
    expect(operator.post("/api/commands", wrong).await, 400, "INVALID_PARAMETERS", "command_params.ecuAddress").await;
    let mut body = good.clone();
    body["timeout_seconds"] = 3601.into();
    expect(operator.post("/api/commands", body).await, 422, "VALIDATION", "timeout_seconds").await;
    let mut body = good.clone();
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
        stranger.post("/api/auth/login", json!({ "email": "a@b", "password": "x" })).await,
        401,
        "INVALID_CREDENTIALS",
        "",
    )
    .await;
    expect(stranger.get("/nowhere").await, 404, "NOT_FOUND", "").await;
    expect(stranger.request_text("PUT", "/api/auth/me").await, 405, "METHOD_NOT_ALLOWED", "").await;
}

#[tokio::test]
async fn the_cookie_works_for_our_own_pages_only() {
    let one = SingleProcess::start(&[]).await;
    let stranger = Person::anonymous(one.url());
    let login = json!({ "username": "admin", "password": turnpike_testkit::ADMIN_PASSWORD });
    let answer = stranger.post("/api/auth/login", login).await;
    let cookie = answer.headers["set-cookie"].to_str().expect("text").to_owned();
    for part in ["session_token=", "HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=86400"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let cookie = cookie.split(';').next().expect("a value").to_owned();
    let with = |method: reqwest::Method, path: &str, headers: &[(&str, &str)]| {
        let mut request = stranger.request(method, path).header("cookie", &cookie);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let stranger = stranger.clone();
        async move { stranger.send(request).await.status }
    };
    use reqwest::Method;
    assert_eq!(with(Method::GET, "/api/auth/me", &[]).await, 200);
    assert_eq!(with(Method::POST, "/api/auth/tickets", &[]).await, 403);
    assert_eq!(with(Method::POST, "/api/auth/tickets", &[("origin", "https://evil.example")]).await, 403);
    assert_eq!(with(Method::POST, "/api/auth/tickets", &[("sec-fetch-site", "cross-site")]).await, 403);
    assert_eq!(with(Method::POST, "/api/auth/tickets", &[("sec-fetch-site", "same-origin")]).await, 201);
    assert_eq!(with(Method::POST, "/api/auth/tickets", &[("origin", one.url())]).await, 201);

    // Another site can neither put a visitor out nor sign them in as somebody else.
    assert_eq!(with(Method::POST, "/api/auth/logout", &[("origin", "https://evil.example")]).await, 200);
    assert_eq!(with(Method::GET, "/api/auth/me", &[]).await, 200, "still signed in");
    let login = json!({ "username": "admin", "password": turnpike_testkit::ADMIN_PASSWORD });
    let lured = stranger.request(Method::POST, "/api/auth/login").json(&login).header("origin", "https://evil.example");
    assert!(!stranger.send(lured).await.headers.contains_key("set-cookie"));

    let socket = |origin: Option<String>| {
        let (base, cookie) = (one.url().to_owned(), cookie.clone());
        async move {
            let mut headers = vec![("cookie", cookie.as_str())];
            headers.extend(origin.as_deref().map(|origin| ("origin", origin)));
            Socket::open_with(&base, "/ws", &headers).await.map(|_| ())
        }
    };
    assert_eq!(socket(Some(one.url().to_owned())).await, Ok(()));
    assert_eq!(socket(Some("https://evil.example".to_owned())).await, Err(403), "before the upgrade");
    assert_eq!(socket(None).await, Err(403));
    assert_eq!(Socket::open_with(one.url(), "/ws", &[]).await.map(|_| ()), Err(401));
}

#[tokio::test]
async fn a_ticket_opens_one_socket() {
    let one = SingleProcess::start(&[]).await;
    let admin = one.admin().await;
    let answer = admin.post("/api/auth/tickets", json!({})).await;
    assert_eq!((answer.status, answer.json["expires_in"].as_u64()), (201, Some(30)));
    let protocols = format!("turnpike.v1, ticket.{}", answer.json["ticket"].as_str().expect("a ticket"));
    let open = async || Socket::open_with(one.url(), "/ws", &[("sec-websocket-protocol", &protocols)]).await;
    let mut socket = open().await.expect("the first time");
    assert_eq!(socket.frame().await["event"], "hello");
    assert_eq!(open().await.map(|_| ()), Err(401), "the second time");
}

#[tokio::test]
async fn no_secret_reaches_the_log() {
    let one = SingleProcess::start(&[("TURNPIKE_LOG", "debug")]).await;
    let admin = one.admin().await;
    let vehicle = &admin.vehicles().await[0];
    let id = admin.send_command(vehicle, "ReadDTC", json!({ "ecuAddress": "0x10" })).await;
    admin.watch(&id).await.until_closed().await;
    refused(one.url(), &format!("/ws/responses/{id}?token=a-wrong-token")).await;
    let log = one.process.log();
    for secret in [admin.token.as_str(), &admin.refresh_token, turnpike_testkit::ADMIN_PASSWORD, "a-wrong-token"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
