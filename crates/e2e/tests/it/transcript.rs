//! One scenario, recorded byte for byte: the requests, responses and frames of a client. `transcript.txt` is the recording. A
//! difference is a change that clients can see. If it is intended, run the test with `TURNPIKE_TEST_RECORD=1` and commit the file.

use std::{collections::HashMap, fmt::Write as _, fs, path::Path};

use reqwest::Method;
use serde_json::{Value, json};
use turnpike_testkit::{ADMIN_PASSWORD, Answer, Person, SingleProcess, Socket};
use uuid::Uuid;

/// Headers that differ from run to run or say nothing about the product.
const LEFT_OUT: [&str; 2] = ["date", "content-length"];

/// What a client sends and receives, with values that differ from run to run replaced by names.
#[derive(Default)]
struct Transcript {
    text: String,
    names: HashMap<String, String>,
    secrets: Vec<(String, &'static str)>,
}

impl Transcript {
    /// From now on this value is written as `<name>`.
    fn hide(&mut self, value: &str, name: &'static str) {
        assert!(!value.is_empty(), "{name} is empty");
        self.secrets.push((value.to_owned(), name));
    }

    fn line(&mut self, line: &str) {
        let mut line = line.to_owned();
        for (value, name) in &self.secrets {
            line = line.replace(value, &format!("<{name}>"));
        }
        let line = self.replace_values(&line);
        writeln!(self.text, "{line}").expect("a String takes any text");
    }

    fn title(&mut self, title: &str) {
        writeln!(self.text, "\n# {title}").expect("a String takes any text");
    }

    async fn call(&mut self, person: &Person, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.call_with(person, method, path, body, &[]).await
    }

    async fn call_with(
        &mut self,
        person: &Person,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = person.request(method.clone(), path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = &body {
            request = request.json(body);
        }
        let answer = person.send(request).await;
        for field in ["access_token", "refresh_token", "ticket"] {
            if let Some(value) = answer.json[field].as_str() {
                self.hide(value, field);
            }
        }
        if let Some(id) = answer.headers.get("x-request-id").and_then(|id| id.to_str().ok()) {
            self.hide(id, "request id");
        }
        if let Some(cookie) = answer.headers.get("set-cookie").and_then(|cookie| cookie.to_str().ok()) {
            let value = cookie.split(['=', ';']).nth(1).unwrap_or_default();
            if !value.is_empty() {
                self.hide(value, "cookie");
            }
        }
        let body = body.map(|body| format!(" {body}")).unwrap_or_default();
        let headers: String = headers.iter().map(|(name, value)| format!(" [{name}: {value}]")).collect();
        self.line(&format!("> {method} {path}{headers}{body}"));
        self.line(&format!("< {}", answer.status));
        let mut shown: Vec<_> = answer.headers.iter().filter(|(name, _)| !LEFT_OUT.contains(&name.as_str())).collect();
        shown.sort_by_key(|(name, value)| (name.as_str(), value.as_bytes()));
        for (name, value) in shown {
            self.line(&format!("< {name}: {}", value.to_str().expect("ASCII")));
        }
        for line in answer.text.lines() {
            self.line(&format!("< {line}"));
        }
        answer
    }

    /// Writes every frame down until the socket is closed.
    async fn frames(&mut self, mut watch: Socket) {
        loop {
            match watch.next_text().await {
                Ok(frame) => self.line(&format!("< {frame}")),
                Err(closed) => return self.line(&format!("< closed {} {:?}", closed.code, closed.reason)),
            }
        }
    }

    /// Sends a frame and writes the answers down, up to the first one of this event.
    async fn exchange(&mut self, watch: &mut Socket, frame: &str, until: &str) {
        self.line(&format!("> {frame}"));
        watch.send_text(frame).await;
        self.answers(watch, until).await;
    }

    async fn answers(&mut self, watch: &mut Socket, until: &str) {
        loop {
            let text = watch.next_text().await.expect("an open socket");
            self.line(&format!("< {text}"));
            let frame: Value = serde_json::from_str(&text).expect("JSON");
            if frame["event"] == until {
                return;
            }
        }
    }

    /// Names ids, epochs and times by their first appearance.
    fn replace_values(&mut self, line: &str) -> String {
        let mut replaced = String::with_capacity(line.len());
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let after_a_word = replaced.ends_with(|c: char| c.is_ascii_alphanumeric());
            if !after_a_word && let Some((length, name)) = self.value_at(rest) {
                replaced.push_str(&name);
                rest = &rest[length..];
            } else {
                replaced.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        replaced
    }

    /// The length of the value at the beginning of a text, and its name.
    fn value_at(&mut self, text: &str) -> Option<(usize, String)> {
        if let Some(id) = text.get(..36).filter(|id| Uuid::try_parse(id).is_ok()) {
            return Some((36, self.name(id, "id")));
        }
        let epoch = text.get(..13).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        if let Some(epoch) = epoch.filter(|_| text[13..].starts_with('-')) {
            return Some((13, self.name(epoch, "epoch")));
        }
        let is_time = |text: &&str| text.parse::<jiff::Timestamp>().is_ok();
        let time = text.find('Z').and_then(|end| text.get(..=end)).filter(|time| time.len() <= 30).filter(is_time);
        time.map(|time| (time.len(), "<time>".to_owned()))
    }

    fn name(&mut self, value: &str, kind: &str) -> String {
        let next = self.names.values().filter(|name| name.starts_with(&format!("<{kind}"))).count() + 1;
        self.names.entry(value.to_owned()).or_insert_with(|| format!("<{kind} {next}>")).clone()
    }
}

#[tokio::test]
async fn what_clients_receive_is_as_recorded() {
    let one = SingleProcess::start(&[("TURNPIKE_LIMIT_MESSAGES_PER_MINUTE", "0")]).await;
    let mut transcript = Transcript::default();
    transcript.hide(one.url().trim_start_matches("http://"), "address");
    credentials(&mut transcript, &one).await;
    let admin = one.admin().await;
    let command = commands(&mut transcript, &admin).await;
    sockets(&mut transcript, &one, &admin, &command).await;
    streams(&mut transcript, &admin, &command).await;
    accounts(&mut transcript, &one, &admin).await;

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/transcript.txt");
    #[expect(clippy::disallowed_methods, reason = "records only when it is asked to")]
    if std::env::var_os("TURNPIKE_TEST_RECORD").is_some() {
        fs::write(&file, &transcript.text).expect("writable");
    }
    let recorded = fs::read_to_string(&file).unwrap_or_default();
    for (number, (is, was)) in (1..).zip(transcript.text.lines().zip(recorded.lines())) {
        assert_eq!(is, was, "line {number} of transcript.txt");
    }
    assert_eq!(transcript.text.lines().count(), recorded.lines().count(), "the number of lines");
}

async fn credentials(transcript: &mut Transcript, one: &SingleProcess) {
    let stranger = Person::anonymous(one.url());
    let admin = |password: &str| Some(json!({ "username": "admin", "password": password }));
    transcript.title("credentials");
    transcript.call(&stranger, Method::GET, "/api/vehicles", None).await;
    transcript.call(&stranger, Method::POST, "/api/auth/login", admin("not the password")).await;
    transcript.call(&stranger, Method::POST, "/api/auth/login", Some(json!({ "username": 1, "secret": "x" }))).await;
    let login = transcript.call(&stranger, Method::POST, "/api/auth/login", admin(ADMIN_PASSWORD)).await;
    let refresh = Some(json!({ "refresh_token": login.json["refresh_token"] }));
    transcript.call(&stranger, Method::POST, "/api/auth/refresh", refresh).await;
    transcript.call(&stranger, Method::POST, "/api/auth/refresh", Some(json!({ "refresh_token": "x" }))).await;
    let admin = stranger.with_token(login.json["access_token"].as_str().expect("a token"));
    transcript.call(&admin, Method::GET, "/api/auth/me", None).await;
    transcript.call(&admin, Method::POST, "/api/auth/tickets", None).await;
    let change = json!({ "current_password": "wrong", "new_password": "another long pass phrase" });
    transcript.call(&admin, Method::POST, "/api/auth/change-password", Some(change)).await;
    transcript.call(&stranger.with_token("garbage"), Method::GET, "/api/auth/me", None).await;
    transcript.call(&admin, Method::POST, "/api/auth/logout", None).await;
    transcript.call(&admin, Method::GET, "/api/auth/me", None).await;
    transcript.call(&stranger, Method::GET, "/api/nothing", None).await;
    transcript.call(&stranger, Method::DELETE, "/api/auth/login", None).await;
}

/// Gives the id of a command that has ended.
async fn commands(transcript: &mut Transcript, admin: &Person) -> String {
    let vehicle = &admin.vehicles().await[0];
    let id = vehicle["id"].as_str().expect("an id");
    transcript.title("vehicles");
    let search = format!("/api/vehicles?search={}", vehicle["vin"].as_str().expect("a VIN"));
    transcript.call(admin, Method::GET, &search, None).await;
    transcript.call(admin, Method::GET, &format!("/api/vehicles/{id}"), None).await;
    transcript.call(admin, Method::GET, &format!("/api/vehicles/{id}/status"), None).await;
    transcript.call(admin, Method::GET, "/api/vehicles/nonsense", None).await;
    transcript.call(admin, Method::GET, "/api/vehicles?limit=0", None).await;
    transcript.call(admin, Method::GET, "/api/commands/catalogue", None).await;

    transcript.title("commands that are refused");
    let command = |name: &str, params: Value| json!({ "vehicle_id": id, "command_name": name, "command_params": params, "timeout_seconds": 20 });
    let read = command("ReadDTC", json!({ "ecuAddress": "0x10" }));
    let mut unknown_vehicle = read.clone();
    unknown_vehicle["vehicle_id"] = json!("00000000-0000-7000-8000-000000000000");
    let mut too_long = read.clone();
    too_long["timeout_seconds"] = json!(100_000);
    for body in [
        unknown_vehicle,
        command("Explode", json!({})),
        command("ReadDTC", json!({ "ecuAddress": "16" })),
        too_long,
        json!({ "command": "ReadDTC" }),
    ] {
        transcript.call(admin, Method::POST, "/api/commands", Some(body)).await;
    }

    transcript.title("a command");
    let key = [("idempotency-key", "transcript")];
    let first = transcript.call_with(admin, Method::POST, "/api/commands", Some(read.clone()), &key).await;
    let id = first.json["command_id"].as_str().expect("an id").to_owned();
    admin.watch(&id).await.until_closed().await;
    transcript.call_with(admin, Method::POST, "/api/commands", Some(read), &key).await;
    let other = command("ReadDTC", json!({ "ecuAddress": "0x11" }));
    transcript.call_with(admin, Method::POST, "/api/commands", Some(other), &key).await;
    transcript.call(admin, Method::GET, &format!("/api/commands/{id}"), None).await;
    transcript.call(admin, Method::GET, &format!("/api/commands/{id}/responses"), None).await;
    transcript.call(admin, Method::GET, &format!("/api/commands/{id}/responses?limit=1"), None).await;
    transcript.call(admin, Method::GET, "/api/commands?status=completed", None).await;
    transcript.call(admin, Method::GET, "/api/commands?status=nonsense", None).await;
    transcript.call(admin, Method::POST, &format!("/api/commands/{id}/cancel"), None).await;
    transcript.call(admin, Method::GET, "/api/commands/00000000-0000-7000-8000-000000000000", None).await;
    id
}

async fn sockets(transcript: &mut Transcript, one: &SingleProcess, admin: &Person, command: &str) {
    transcript.title("the socket of a command");
    transcript.hide(&admin.token, "access_token");
    transcript.frames(admin.watch(command).await).await;
    let stranger = Person::anonymous(one.url());
    transcript.frames(stranger.with_token("garbage").watch(command).await).await;
    transcript.frames(stranger.watch(command).await).await;
    transcript.frames(admin.watch("00000000-0000-7000-8000-000000000000").await).await;
    let offset = {
        let mut watch = admin.watch(command).await;
        watch.frame().await["offset"].as_str().expect("an offset").to_owned()
    };
    transcript.frames(admin.watch_since(command, &offset).await).await;
    transcript.frames(admin.watch_since(command, "1000000000000-7").await).await;

    transcript.title("the multiplexed socket");
    let mut socket = admin.socket().await;
    transcript.answers(&mut socket, "hello").await;
    let subscribe = |id: u32, topic: &str, since: &str| {
        format!(r#"{{"action":"subscribe","id":{id},"topic":"{topic}","since":"{since}"}}"#)
    };
    let topic = format!("response:{command}");
    transcript.exchange(&mut socket, &subscribe(1, &topic, "start"), "closed").await;
    transcript.exchange(&mut socket, &subscribe(2, &topic, "live"), "closed").await;
    transcript.exchange(&mut socket, &subscribe(3, &format!("user:{}", admin.id()), "live"), "caught_up").await;
    for refused in [
        subscribe(4, "response:00000000-0000-7000-8000-000000000000", "start"),
        subscribe(5, "user:00000000-0000-7000-8000-000000000000", "start"),
        subscribe(6, "nonsense", "start"),
        subscribe(7, &topic, "nonsense"),
        r#"{"action":"dance","id":8}"#.to_owned(),
        "not JSON".to_owned(),
        r#"{"action":"auth","id":9,"token":"garbage"}"#.to_owned(),
    ] {
        transcript.exchange(&mut socket, &refused, "error").await;
    }
    transcript.exchange(&mut socket, r#"{"action":"ping","id":10}"#, "pong").await;
    let closed = socket.close().await;
    transcript.line(&format!("< closed {} {:?}", closed.code, closed.reason));
}

async fn streams(transcript: &mut Transcript, admin: &Person, command: &str) {
    transcript.title("server-sent events");
    let path = format!("/api/topics/response:{command}/events");
    let whole = transcript.call(admin, Method::GET, &path, None).await;
    let ids: Vec<_> = whole.text.lines().filter_map(|line| line.strip_prefix("id: ")).map(str::to_owned).collect();
    let (first, last) = (ids.first().expect("events"), ids.last().expect("events"));
    transcript.call_with(admin, Method::GET, &path, None, &[("last-event-id", first)]).await;
    transcript.call_with(admin, Method::GET, &path, None, &[("last-event-id", last)]).await;
    transcript.call(admin, Method::GET, &format!("{path}?since=nonsense"), None).await;
    transcript.call(admin, Method::GET, "/api/topics/response:nonsense/events", None).await;
}

async fn accounts(transcript: &mut Transcript, one: &SingleProcess, admin: &Person) {
    transcript.title("accounts");
    let ada = json!({ "email": "ada@example.com", "username": "ada", "password": ADMIN_PASSWORD, "role": "operator" });
    let made = transcript.call(admin, Method::POST, "/api/admin/users", Some(ada.clone())).await;
    let id = made.json["id"].as_str().expect("an id");
    transcript.call(admin, Method::POST, "/api/admin/users", Some(ada)).await;
    transcript.call(admin, Method::POST, "/api/admin/users", Some(json!({ "email": "x" }))).await;
    let person = Person::sign_in(one.url(), "ada", ADMIN_PASSWORD).await;
    transcript.call(&person, Method::GET, "/api/admin/users", None).await;
    transcript.call(&person, Method::GET, "/api/auth/sessions", None).await;
    let user = format!("/api/admin/users/{id}");
    transcript.call(admin, Method::GET, &format!("{user}/sessions"), None).await;
    transcript.call(admin, Method::PATCH, &user, Some(json!({ "active": false }))).await;
    transcript.call(&person, Method::GET, "/api/auth/me", None).await;
    transcript.call(admin, Method::PATCH, &user, Some(json!({ "role": "emperor" }))).await;
    transcript
        .call(admin, Method::PATCH, &format!("/api/admin/users/{}", admin.id()), Some(json!({ "active": false })))
        .await;
    transcript.call(admin, Method::DELETE, &user, None).await;
    transcript.call(admin, Method::DELETE, &user, None).await;
}
