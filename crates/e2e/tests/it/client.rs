//! The command-line client against the single process.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
};
use turnpike_testkit::{ADMIN_PASSWORD, Host, Person, ServiceProcess, SingleProcess, binary, eventually, within};

/// The environment that a user runs programs in: an empty home directory, and no `TURNPIKE_*` variables unless set with `with`.
pub struct UserEnvironment {
    home: TempDir,
    variables: Vec<(&'static str, String)>,
}

/// The exit code and the output of a program.
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl UserEnvironment {
    pub fn new() -> Self {
        Self { home: TempDir::new().expect("a directory"), variables: Vec::new() }
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    pub async fn run(&self, program: &Path, arguments: &[&str], stdin_text: &str) -> Output {
        let mut child = self.start(program, arguments);
        let mut stdin = child.stdin.take().expect("a pipe");
        // The write fails if the program reads nothing and has already exited.
        let _ = stdin.write_all(stdin_text.as_bytes()).await;
        drop(stdin);
        let output = within("the program to exit", 60, child.wait_with_output()).await.expect("the output is read");
        let text = |bytes| String::from_utf8(bytes).expect("the output is UTF-8");
        Output { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Starts a program with pipes for its input and output.
    pub fn start(&self, program: &Path, arguments: &[&str]) -> Child {
        Command::new(program)
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
            .expect("the program starts")
    }

    async fn turnpike(&self, arguments: &[&str]) -> Output {
        self.run(&binary("turnpike"), arguments, "").await
    }

    async fn login(&self, server: &str, user: &str, password: &str) -> Output {
        let arguments = ["login", "--server", server, "--user", user];
        self.run(&binary("turnpike"), &arguments, &format!("{password}\n")).await
    }

    /// Runs a printed line in a shell.
    async fn shell(&self, line: &str) -> Output {
        self.run(Path::new("/bin/sh"), &["-c", line], "").await
    }

    fn folder(&self) -> PathBuf {
        self.home.path().join(".config/turnpike/sessions")
    }

    /// The file of the saved session. There is at most one.
    fn file(&self) -> Option<PathBuf> {
        let entries = fs::read_dir(self.folder()).ok()?;
        let mut files = entries
            .map(|entry| entry.expect("the file is readable").path())
            .filter(|path| path.extension().is_some_and(|e| e == "json"));
        let file = files.next();
        assert!(files.next().is_none(), "one session for the server");
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
fn assert_success(output: &Output) {
    assert_eq!(output.code, Some(0), "{output:?}");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it exists").permissions().mode() & 0o777
}

/// How often the refresh token was rotated. The token contains this number.
fn rotations(session: &Value) -> u64 {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    let token = session["refresh_token"].as_str().expect("a token");
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).expect("base64");
    u64::from_be_bytes(bytes[17..25].try_into().expect("eight bytes"))
}

/// The single process with only its address configured, as a user starts it the first time.
fn first_start(directory: &Path, address: &str, variables: &[(&str, &str)]) -> ServiceProcess {
    let mut all = BTreeMap::from([
        ("TURNPIKE_HTTP".to_owned(), address.to_owned()),
        ("TURNPIKE_MOCK_DELAY_MS".to_owned(), "0".to_owned()),
    ]);
    all.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    ServiceProcess::new("turnpike", "turnpike", all, directory)
}

/// Starts the process and waits for the `n`th printed command line, counted from 0 over all starts.
async fn start_and_read_line(process: &mut ServiceProcess, n: usize) -> String {
    process.start();
    eventually("the printed command line", 30, || {
        let log = process.log();
        let line =
            log.lines().filter(|line| line.contains(" command --server ")).nth(n).map(|line| line.trim().to_owned());
        async move { line }
    })
    .await
}

#[tokio::test]
async fn the_printed_command_line_of_each_start_needs_no_password() {
    let directory = TempDir::new().expect("a directory");
    let host = Host::claim();
    let mut process = first_start(directory.path(), &host.address(0).to_string(), &[]);
    let line = start_and_read_line(&mut process, 0).await;
    let file = directory.path().join("turnpike-data/one-time-sign-in.json");
    let one_time: Value = serde_json::from_slice(&fs::read(&file).expect("the file is readable")).expect("JSON");
    let code = one_time["code"].as_str().expect("a code");
    assert_eq!(mode(&file), 0o600);
    assert!(!process.log().contains(code) && !line.contains("PASSWORD"), "{line}");

    let user = UserEnvironment::new();
    for _ in 0..2 {
        let output = user.shell(&line).await; // the second run uses the session of the first
        assert_success(&output);
        assert!(output.out.lines().last().is_some_and(|frame| frame.contains("completed")), "{output:?}");
    }
    assert!(!file.exists(), "the file is removed after its use");
    let session = user.file().expect("a session");
    assert_eq!(
        (mode(&session), mode(&user.folder()), mode(user.folder().parent().expect("a folder"))),
        (0o600, 0o700, 0o700)
    );
    let server = one_time["server"].as_str().expect("a server");
    let again = Person::anonymous(server).post("/api/auth/one-time", json!({ "code": code })).await;
    assert_eq!((again.status, again.json["code"].as_str()), (401, Some("INVALID_CREDENTIALS")), "{}", again.text);

    // Another start, and a user without a session.
    assert_eq!(process.stop().await.code(), Some(0));
    let line = start_and_read_line(&mut process, 1).await;
    let second_user = UserEnvironment::new();
    let (first, second) = tokio::join!(second_user.shell(&line), second_user.shell(&line)); // one of them uses the code
    [first, second].iter().for_each(assert_success);
    assert_success(&user.shell(&line).await);
    let third_user = UserEnvironment::new();
    let output = third_user.shell(&line).await;
    assert_eq!(output.code, Some(1), "the code of this start has been used: {output:?}");
    assert!(
        output.err.contains(&format!("not signed in at {server}: run `")) && output.err.contains(" login --server "),
        "{output:?}"
    );

    // A new installation at the same address does not know the saved session.
    assert_eq!(process.stop().await.code(), Some(0));
    fs::remove_dir_all(directory.path().join("turnpike-data")).expect("removed");
    let line = start_and_read_line(&mut process, 2).await;
    assert_success(&user.shell(&line).await);
}

#[tokio::test]
async fn a_one_time_code_is_refused_through_a_proxy() {
    let directory = TempDir::new().expect("a directory");
    let mut process = first_start(directory.path(), "127.0.0.1:0", &[]);
    start_and_read_line(&mut process, 0).await;
    let file = directory.path().join("turnpike-data/one-time-sign-in.json");
    let one_time: Value = serde_json::from_slice(&fs::read(&file).expect("the file is readable")).expect("JSON");
    let anonymous = Person::anonymous(one_time["server"].as_str().expect("a server"));
    let body = json!({ "code": one_time["code"] });
    for header in ["x-forwarded-for", "forwarded", "x-real-ip", "via", "x-forwarded-proto"] {
        let request =
            anonymous.request("POST".parse().expect("a method"), "/api/auth/one-time").header(header, "127.0.0.1");
        let answer = anonymous.send(request.json(&body)).await;
        assert_eq!(
            (answer.status, answer.json["code"].as_str()),
            (403, Some("NOT_LOCAL")),
            "{header}: {}",
            answer.text
        );
    }
    let unknown_field = anonymous.post("/api/auth/one-time", json!({ "code": one_time["code"], "user": "ada" })).await;
    assert_eq!(unknown_field.status, 422, "{}", unknown_field.text);
    let answer = anonymous.post("/api/auth/one-time", body).await;
    assert_eq!(
        (answer.status, answer.json["user"]["username"].as_str()),
        (200, Some("admin")),
        "the refused requests did not use the code"
    );
    let cookie = answer.headers.get("set-cookie").and_then(|value| value.to_str().ok()).unwrap_or_default();
    assert!(
        cookie.starts_with("session_token=") && cookie.contains("HttpOnly"),
        "the same cookie as after a login: {cookie}"
    );
}

#[tokio::test]
async fn no_code_is_issued_on_a_public_address_or_accepted_through_a_trusted_proxy() {
    let directory = TempDir::new().expect("a directory");
    let mut public = first_start(directory.path(), "0.0.0.0:0", &[]);
    let line = start_and_read_line(&mut public, 0).await;
    assert!(public.log().contains(" login --server http://127.0.0.1:"), "{}", public.log());
    assert!(!directory.path().join("turnpike-data/one-time-sign-in.json").exists());
    let output = UserEnvironment::new().shell(&line).await;
    assert!(output.code == Some(1) && output.err.contains("not signed in"), "{output:?}");

    let directory = TempDir::new().expect("a directory");
    let mut behind_proxy = first_start(directory.path(), "127.0.0.1:0", &[("TURNPIKE_TRUSTED_PROXIES", "127.0.0.1")]);
    let line = start_and_read_line(&mut behind_proxy, 0).await;
    let output = UserEnvironment::new().shell(&line).await;
    assert!(output.code == Some(1) && output.err.contains("not signed in"), "{output:?}");
}

#[tokio::test]
async fn a_session_is_created_saved_refreshed_and_ended() {
    let turnpike = SingleProcess::start(&[]).await;
    let (url, user) = (turnpike.url(), UserEnvironment::new());
    let output = user.turnpike(&["whoami", "--server", url]).await;
    assert!(output.code == Some(1) && output.err.contains("not signed in at"), "{output:?}");

    let output = user.login(url, "admin", "a wrong pass phrase").await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.err.contains("refused the name admin or its password: Invalid credentials (401)"), "{output:?}");
    assert!(user.login(url, "admin", "").await.err.contains("the password is empty"));
    assert!(user.file().is_none(), "no session is saved");

    let output = user.login(url, "admin@turnpike.local", ADMIN_PASSWORD).await;
    assert_success(&output);
    assert_eq!(output.out, format!("signed in as admin (role admin) at {url}\n"));
    assert_eq!((mode(&user.file().expect("a session")), mode(&user.folder())), (0o600, 0o700));
    assert!(!user.session().to_string().contains(ADMIN_PASSWORD), "the password is not saved");

    let output = user.turnpike(&["whoami", "--server", &format!("{url}/")]).await;
    assert_success(&output);
    for part in [
        "user     admin (admin@turnpike.local)\n",
        "role     admin\n",
        &format!("server   {url}\n"),
        "session  until 20",
    ] {
        assert!(output.out.contains(part), "{output:?}");
    }

    // An access token that has expired, and one that the server does not accept.
    let first = user.session();
    user.set("access_expires_at", "2020-01-01T00:00:00Z");
    assert_success(&user.turnpike(&["whoami", "--server", url]).await);
    let second = user.session();
    assert_ne!(first["access_token"], second["access_token"]);
    assert_eq!((rotations(&first), rotations(&second)), (0, 1));
    user.set("access_token", "refused");
    assert_success(&user.turnpike(&["whoami", "--server", url]).await);
    let third = user.session();
    assert_eq!((rotations(&third), mode(&user.file().expect("a session"))), (2, 0o600));

    // A saved session is not used for another user.
    let output = user.turnpike(&["command", "--server", url, "--user", "ada", "--vehicle", "x", "ReadDTC"]).await;
    assert!(output.code == Some(1) && output.err.contains("not signed in at"), "{output:?}");

    // A second sign-in ends the earlier session.
    assert_success(&user.login(url, "admin", ADMIN_PASSWORD).await);
    let ended =
        Person::anonymous(url).with_token(third["access_token"].as_str().expect("a token")).get("/api/auth/me").await;
    assert_eq!(ended.status, 401, "{}", ended.text);

    let last = user.session();
    let output = user.turnpike(&["logout", "--server", url]).await;
    assert_success(&output);
    assert!(user.file().is_none());
    let refresh = json!({ "refresh_token": last["refresh_token"] });
    assert_eq!(
        Person::anonymous(url).post("/api/auth/refresh", refresh).await.status,
        401,
        "the session has ended at the server too"
    );
    assert!(user.turnpike(&["logout", "--server", url]).await.out.contains("not signed in at"));
    assert_eq!(user.turnpike(&["whoami", "--server", url]).await.code, Some(1));
}

/// A refresh token works once: of clients that start together one refreshes, and the others use the new tokens.
#[tokio::test]
async fn parallel_clients_share_one_refresh() {
    let turnpike = SingleProcess::start(&[]).await;
    let (url, user) = (turnpike.url(), UserEnvironment::new());
    assert_success(&user.login(url, "admin", ADMIN_PASSWORD).await);
    for round in 1..=3 {
        user.set("access_expires_at", "2020-01-01T00:00:00Z");
        let whoami = ["whoami", "--server", url];
        let (a, b, c, d) = tokio::join!(
            user.turnpike(&whoami),
            user.turnpike(&whoami),
            user.turnpike(&whoami),
            user.turnpike(&whoami)
        );
        [a, b, c, d].iter().for_each(assert_success);
        assert_eq!(rotations(&user.session()), round);
    }
}

#[tokio::test]
async fn the_password_in_the_environment_is_used_without_a_saved_session() {
    let turnpike = SingleProcess::start(&[]).await;
    let url = turnpike.url();
    let user = UserEnvironment::new().with("TURNPIKE_ADMIN_PASSWORD", ADMIN_PASSWORD);
    let output = user.turnpike(&["whoami", "--server", url]).await;
    assert_success(&output);
    assert!(output.out.contains("session  not saved"), "{output:?}");
    assert!(user.file().is_none());
    // A home directory is not needed, as in a container.
    let homeless = UserEnvironment::new().with("HOME", "/dev/null");
    let output = homeless.turnpike(&["whoami", "--server", url]).await;
    assert!(output.code == Some(1) && output.err.contains("not signed in at"), "{output:?}");
    assert_success(
        &homeless.with("TURNPIKE_ADMIN_PASSWORD", ADMIN_PASSWORD).turnpike(&["whoami", "--server", url]).await,
    );
    // A saved session that has ended is removed, and the password is used.
    assert_success(&user.login(url, "admin", ADMIN_PASSWORD).await);
    let session = user.session();
    let person = Person::anonymous(url).with_token(session["access_token"].as_str().expect("a token"));
    assert_eq!(person.post("/api/auth/logout", json!({})).await.status, 200);
    assert_success(&user.turnpike(&["whoami", "--server", url]).await);
    assert!(user.file().is_none(), "the ended session is removed");
}

#[tokio::test]
async fn keys_are_created_listed_and_revoked() {
    let turnpike = SingleProcess::start(&[]).await;
    let user = UserEnvironment::new().with("TURNPIKE_ADMIN_PASSWORD", ADMIN_PASSWORD);
    let api_keys = async |arguments: &[&str]| {
        let server = ["--server", turnpike.url()];
        user.turnpike(&[&["api-keys"], arguments, &server].concat()).await
    };
    let created =
        api_keys(&["create", "ci", "--scope", "read", "--scope", "chat", "--requests-per-minute", "90"]).await;
    assert_eq!(created.code, Some(0), "{}", created.err);
    let key = created.out.trim_end();
    assert!(!created.err.contains(key), "{}", created.err);
    let program = Person::anonymous(turnpike.url()).with_token(key);
    assert_eq!(program.get("/api/vehicles").await.status, 200);

    let listed = api_keys(&["list"]).await;
    assert!(listed.out.contains("  ci  scopes read,chat  expires never  last used 2"), "{}", listed.out);
    assert!(listed.out.contains("90 requests a minute") && !listed.out.contains(key), "{}", listed.out);
    let id = listed.out.split_whitespace().next().expect("the id");
    let revoked = api_keys(&["revoke", id]).await;
    assert_eq!((revoked.code, revoked.out), (Some(0), format!("revoked {id}\n")));
    eventually("the gateway to know of it", 10, async || {
        (program.get("/api/vehicles").await.status == 401).then_some(())
    })
    .await;

    let unknown = api_keys(&["create", "ci", "--scope", "teleport"]).await;
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.err.contains("scopes[0]"), "{}", unknown.err);
    assert!(api_keys(&["revoke", "../x"]).await.err.contains("is not an id"));
    assert!(api_keys(&["revoke", id]).await.err.contains("404"));
}
