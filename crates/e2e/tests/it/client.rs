//! The command-line client against the one process, run as a person runs it.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, process::Command};
use turnpike_testkit::{ADMIN_PASSWORD, Host, Person, ServiceProcess, SingleProcess, binary, eventually, within};

/// Somebody's computer: a home, and nothing of ours in the environment.
struct Desk {
    home: TempDir,
    variables: Vec<(&'static str, String)>,
}

/// What a program has said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Desk {
    fn new() -> Self {
        Self { home: TempDir::new().expect("a directory"), variables: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    async fn run(&self, program: &Path, arguments: &[&str], typed: &str) -> Said {
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.home.path())
            .envs(self.variables.iter().map(|(name, value)| (*name, value)))
            .current_dir(self.home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a program");
        let mut stdin = child.stdin.take().expect("a pipe");
        // A program that reads nothing may have ended already.
        let _ = stdin.write_all(typed.as_bytes()).await;
        drop(stdin);
        let output = within("a program to end", 60, child.wait_with_output()).await.expect("an output");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    async fn turnpike(&self, arguments: &[&str]) -> Said {
        self.run(&binary("turnpike"), arguments, "").await
    }

    async fn login(&self, server: &str, user: &str, password: &str) -> Said {
        let arguments = ["login", "--server", server, "--user", user];
        self.run(&binary("turnpike"), &arguments, &format!("{password}\n")).await
    }

    /// A line as it was printed, in a shell.
    async fn shell(&self, line: &str) -> Said {
        self.run(Path::new("/bin/sh"), &["-c", line], "").await
    }

    fn folder(&self) -> PathBuf {
        self.home.path().join(".config/turnpike/sessions")
    }

    /// The one session that is kept.
    fn file(&self) -> Option<PathBuf> {
        let entries = fs::read_dir(self.folder()).ok()?;
        let mut files = entries
            .map(|entry| entry.expect("a file").path())
            .filter(|path| path.extension().is_some_and(|e| e == "json"));
        let file = files.next();
        assert!(files.next().is_none(), "one server, one session");
        file
    }

    fn session(&self) -> Value {
        let text = fs::read(self.file().expect("a session")).expect("readable");
        serde_json::from_slice(&text).expect("JSON")
    }

    fn set(&self, field: &str, value: &str) {
        let mut session = self.session();
        session[field] = json!(value);
        fs::write(self.file().expect("a session"), session.to_string()).expect("writable");
    }
}

#[track_caller]
fn good(said: &Said) {
    assert_eq!(said.code, Some(0), "{said:?}");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it exists").permissions().mode() & 0o777
}

/// How often a session's refresh token was replaced: a number within it.
fn rotations(session: &Value) -> u64 {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    let token = session["refresh_token"].as_str().expect("a token");
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).expect("base64");
    u64::from_be_bytes(bytes[17..25].try_into().expect("eight bytes"))
}

/// The one process as a person starts it: nothing is configured but where it listens.
fn first_start(directory: &Path, address: &str, variables: &[(&str, &str)]) -> ServiceProcess {
    let mut all = BTreeMap::from([
        ("TURNPIKE_HTTP".to_owned(), address.to_owned()),
        ("TURNPIKE_MOCK_DELAY_MS".to_owned(), "0".to_owned()),
    ]);
    all.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    ServiceProcess::new("turnpike", "turnpike", all, directory)
}

/// Starts it, and waits for the `n`th line that it asks to copy.
async fn printed_line(process: &mut ServiceProcess, n: usize) -> String {
    process.start();
    eventually("the line to copy", 30, || {
        let log = process.log();
        let line =
            log.lines().filter(|line| line.contains(" command --server ")).nth(n).map(|line| line.trim().to_owned());
        async move { line }
    })
    .await
}

#[tokio::test]
async fn the_line_of_each_start_needs_no_password() {
    let directory = TempDir::new().expect("a directory");
    let host = Host::claim();
    let mut process = first_start(directory.path(), &host.address(0).to_string(), &[]);
    let line = printed_line(&mut process, 0).await;
    let file = directory.path().join("turnpike-data/one-time-sign-in.json");
    let left: Value = serde_json::from_slice(&fs::read(&file).expect("a file")).expect("JSON");
    let code = left["code"].as_str().expect("a code");
    assert_eq!(mode(&file), 0o600);
    assert!(!process.log().contains(code) && !line.contains("PASSWORD"), "{line}");

    let desk = Desk::new();
    for _ in 0..2 {
        let said = desk.shell(&line).await; // the second time with the session of the first
        good(&said);
        assert!(said.out.lines().last().is_some_and(|frame| frame.contains("completed")), "{said:?}");
    }
    assert!(!file.exists(), "it is used up");
    let session = desk.file().expect("a session");
    assert_eq!(
        (mode(&session), mode(&desk.folder()), mode(desk.folder().parent().expect("a folder"))),
        (0o600, 0o700, 0o700)
    );
    let server = left["server"].as_str().expect("a server");
    let again = Person::anonymous(server).post("/api/auth/one-time", json!({ "code": code })).await;
    assert_eq!((again.status, again.json["code"].as_str()), (401, Some("INVALID_CREDENTIALS")), "{}", again.text);

    // Another start, for somebody who has no session.
    assert_eq!(process.stop().await.code(), Some(0));
    let line = printed_line(&mut process, 1).await;
    let stranger = Desk::new();
    let (first, second) = tokio::join!(stranger.shell(&line), stranger.shell(&line)); // one of them takes the code
    [first, second].iter().for_each(good);
    good(&desk.shell(&line).await);
    let third = Desk::new();
    let said = third.shell(&line).await;
    assert_eq!(said.code, Some(1), "the code of this start is used up: {said:?}");
    assert!(
        said.err.contains(&format!("not signed in at {server}: run `")) && said.err.contains(" login --server "),
        "{said:?}"
    );

    // Everything begins anew at the same address: the session that is kept is none of this server's.
    assert_eq!(process.stop().await.code(), Some(0));
    fs::remove_dir_all(directory.path().join("turnpike-data")).expect("removed");
    let line = printed_line(&mut process, 2).await;
    good(&desk.shell(&line).await);
}

#[tokio::test]
async fn a_one_time_code_is_for_this_machine_without_a_proxy() {
    let directory = TempDir::new().expect("a directory");
    let mut process = first_start(directory.path(), "127.0.0.1:0", &[]);
    printed_line(&mut process, 0).await;
    let file = directory.path().join("turnpike-data/one-time-sign-in.json");
    let left: Value = serde_json::from_slice(&fs::read(&file).expect("a file")).expect("JSON");
    let stranger = Person::anonymous(left["server"].as_str().expect("a server"));
    let body = json!({ "code": left["code"] });
    for header in ["x-forwarded-for", "forwarded", "x-real-ip", "via", "x-forwarded-proto"] {
        let request =
            stranger.request("POST".parse().expect("a method"), "/api/auth/one-time").header(header, "127.0.0.1");
        let answer = stranger.send(request.json(&body)).await;
        assert_eq!(
            (answer.status, answer.json["code"].as_str()),
            (403, Some("NOT_LOCAL")),
            "{header}: {}",
            answer.text
        );
    }
    let odd = stranger.post("/api/auth/one-time", json!({ "code": left["code"], "user": "ada" })).await;
    assert_eq!(odd.status, 422, "{}", odd.text);
    let answer = stranger.post("/api/auth/one-time", body).await;
    assert_eq!((answer.status, answer.json["user"]["username"].as_str()), (200, Some("admin")), "nothing used it up");
    let cookie = answer.headers.get("set-cookie").and_then(|value| value.to_str().ok()).unwrap_or_default();
    assert!(cookie.starts_with("session_token=") && cookie.contains("HttpOnly"), "as at a login: {cookie}");
}

#[tokio::test]
async fn no_code_is_left_where_others_can_connect_or_is_taken_from_a_trusted_proxy() {
    let directory = TempDir::new().expect("a directory");
    let mut open = first_start(directory.path(), "0.0.0.0:0", &[]);
    let line = printed_line(&mut open, 0).await;
    assert!(open.log().contains(" login --server http://127.0.0.1:"), "{}", open.log());
    assert!(!directory.path().join("turnpike-data/one-time-sign-in.json").exists());
    let said = Desk::new().shell(&line).await;
    assert!(said.code == Some(1) && said.err.contains("not signed in"), "{said:?}");

    let directory = TempDir::new().expect("a directory");
    let mut behind = first_start(directory.path(), "127.0.0.1:0", &[("TURNPIKE_TRUSTED_PROXIES", "127.0.0.1")]);
    let line = printed_line(&mut behind, 0).await;
    let said = Desk::new().shell(&line).await;
    assert!(said.code == Some(1) && said.err.contains("not signed in"), "{said:?}");
}

#[tokio::test]
async fn a_session_is_begun_kept_renewed_and_ended() {
    let one = SingleProcess::start(&[]).await;
    let (url, desk) = (one.url(), Desk::new());
    let said = desk.turnpike(&["whoami", "--server", url]).await;
    assert!(said.code == Some(1) && said.err.contains("not signed in at"), "{said:?}");

    let said = desk.login(url, "admin", "a wrong pass phrase").await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("refused the name admin or its password: Invalid credentials (401)"), "{said:?}");
    assert!(desk.login(url, "admin", "").await.err.contains("the password is empty"));
    assert!(desk.file().is_none(), "nothing is kept");

    let said = desk.login(url, "admin@turnpike.local", ADMIN_PASSWORD).await;
    good(&said);
    assert_eq!(said.out, format!("signed in as admin (role admin) at {url}\n"));
    assert_eq!((mode(&desk.file().expect("a session")), mode(&desk.folder())), (0o600, 0o700));
    assert!(!desk.session().to_string().contains(ADMIN_PASSWORD), "the password is kept nowhere");

    let said = desk.turnpike(&["whoami", "--server", &format!("{url}/")]).await;
    good(&said);
    for part in [
        "user     admin (admin@turnpike.local)\n",
        "role     admin\n",
        &format!("server   {url}\n"),
        "session  until 20",
    ] {
        assert!(said.out.contains(part), "{said:?}");
    }

    // An access token that has expired, and one that the server does not accept.
    let first = desk.session();
    desk.set("access_expires_at", "2020-01-01T00:00:00Z");
    good(&desk.turnpike(&["whoami", "--server", url]).await);
    let second = desk.session();
    assert_ne!(first["access_token"], second["access_token"]);
    assert_eq!((rotations(&first), rotations(&second)), (0, 1));
    desk.set("access_token", "refused");
    good(&desk.turnpike(&["whoami", "--server", url]).await);
    let third = desk.session();
    assert_eq!((rotations(&third), mode(&desk.file().expect("a session"))), (2, 0o600));

    // A session is of its user.
    let said = desk.turnpike(&["command", "--server", url, "--user", "ada", "--vehicle", "x", "ReadDTC"]).await;
    assert!(said.code == Some(1) && said.err.contains("not signed in at"), "{said:?}");

    // A second sign-in ends the session before.
    good(&desk.login(url, "admin", ADMIN_PASSWORD).await);
    let ended =
        Person::anonymous(url).with_token(third["access_token"].as_str().expect("a token")).get("/api/auth/me").await;
    assert_eq!(ended.status, 401, "{}", ended.text);

    let last = desk.session();
    let said = desk.turnpike(&["logout", "--server", url]).await;
    good(&said);
    assert!(desk.file().is_none());
    let refresh = json!({ "refresh_token": last["refresh_token"] });
    assert_eq!(Person::anonymous(url).post("/api/auth/refresh", refresh).await.status, 401, "ended at the server, too");
    assert!(desk.turnpike(&["logout", "--server", url]).await.out.contains("nobody is signed in"));
    assert_eq!(desk.turnpike(&["whoami", "--server", url]).await.code, Some(1));
}

/// A refresh token works once: of clients that start together one uses it, and the others take what that one got.
#[tokio::test]
async fn clients_at_once_share_one_refresh() {
    let one = SingleProcess::start(&[]).await;
    let (url, desk) = (one.url(), Desk::new());
    good(&desk.login(url, "admin", ADMIN_PASSWORD).await);
    for round in 1..=3 {
        desk.set("access_expires_at", "2020-01-01T00:00:00Z");
        let whoami = ["whoami", "--server", url];
        let (a, b, c, d) = tokio::join!(
            desk.turnpike(&whoami),
            desk.turnpike(&whoami),
            desk.turnpike(&whoami),
            desk.turnpike(&whoami)
        );
        [a, b, c, d].iter().for_each(good);
        assert_eq!(rotations(&desk.session()), round);
    }
}

#[tokio::test]
async fn the_password_of_the_environment_is_for_who_keeps_no_session() {
    let one = SingleProcess::start(&[]).await;
    let url = one.url();
    let desk = Desk::new().with("TURNPIKE_ADMIN_PASSWORD", ADMIN_PASSWORD);
    let said = desk.turnpike(&["whoami", "--server", url]).await;
    good(&said);
    assert!(said.out.contains("session  not kept"), "{said:?}");
    assert!(desk.file().is_none());
    // Nor is a home needed, as in a container.
    let homeless = Desk::new().with("HOME", "/dev/null");
    let said = homeless.turnpike(&["whoami", "--server", url]).await;
    assert!(said.code == Some(1) && said.err.contains("not signed in at"), "{said:?}");
    good(&homeless.with("TURNPIKE_ADMIN_PASSWORD", ADMIN_PASSWORD).turnpike(&["whoami", "--server", url]).await);
    // A kept session that has ended does not stand in its way.
    good(&desk.login(url, "admin", ADMIN_PASSWORD).await);
    let session = desk.session();
    let person = Person::anonymous(url).with_token(session["access_token"].as_str().expect("a token"));
    assert_eq!(person.post("/api/auth/logout", json!({})).await.status, 200);
    good(&desk.turnpike(&["whoami", "--server", url]).await);
    assert!(desk.file().is_none(), "it is kept no longer");
}
