//! `turnpike chat`, against the single process.

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
};
use turnpike_testkit::{ADMIN_PASSWORD, Person, Proxy, SingleProcess, binary, eventually, within};

use crate::client::{Output, UserEnvironment};

fn environment() -> UserEnvironment {
    UserEnvironment::new().with("TURNPIKE_ADMIN_PASSWORD", ADMIN_PASSWORD)
}

async fn chat(user: &UserEnvironment, arguments: &[&str], piped: &str) -> Output {
    let output = user.run(&binary("turnpike"), &[&["chat"], arguments].concat(), piped).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    output
}

fn conversation(err: &str) -> String {
    let id = err.lines().find_map(|line| line.strip_prefix("conversation "));
    id.unwrap_or_else(|| panic!("no conversation: {err}")).to_owned()
}

async fn messages(person: &Person, conversation: &str) -> Vec<Value> {
    let answer = person.get(&format!("/api/chat/conversations/{conversation}")).await;
    answer.json["messages"].as_array().unwrap_or_else(|| panic!("{}", answer.text)).clone()
}

/// Starts `turnpike chat` with a prompt, and reads its output up to this text.
async fn begin(user: &UserEnvironment, server: &str, prompt: &str, until: &str) -> (Child, String) {
    let mut child = user.start(&binary("turnpike"), &["chat", "--server", server, prompt]);
    child.stdin.take().expect("a pipe").shutdown().await.expect("the pipe is closed");
    let mut out = String::new();
    while !out.contains(until) {
        read_some(&mut child, &mut out).await;
    }
    (child, out)
}

async fn read_some(child: &mut Child, out: &mut String) {
    let mut bytes = [0; 1024];
    let read = child.stdout.as_mut().expect("a pipe").read(&mut bytes);
    let read = within("output", 30, read).await.expect("readable");
    assert!(read > 0, "the program ended after: {out}");
    out.push_str(std::str::from_utf8(&bytes[..read]).expect("UTF-8"));
}

#[tokio::test]
async fn an_answer_is_printed_and_its_conversation_continued() {
    let turnpike = SingleProcess::start(&[("TURNPIKE_LLM_SCRIPTED_DELAY_MS", "1")]).await;
    let (url, user, admin) = (turnpike.url(), environment(), turnpike.admin().await);
    let first = chat(&user, &["--server", url, "Write 3 words"], "").await;
    assert_eq!(first.out, "word-1 word-2 word-3\n");
    let id = conversation(&first.err);

    let model = admin.get("/v1/models").await.json["data"][0]["id"].as_str().expect("a model").to_owned();
    let second = chat(&user, &["--server", url, "--model", &model, "--conversation", &id], "Write 2 words\n").await;
    assert_eq!((second.out.as_str(), second.err.as_str()), ("word-1 word-2\n", ""));
    let third = chat(&user, &["--server", url, "--conversation", &id, "What is this?"], "🛑 squeal\n").await;
    assert!(third.out.ends_with("You wrote: What is this?\n\n🛑 squeal\n"), "{third:?}");
    assert_eq!(messages(&admin, &id).await.len(), 6);

    let list = chat(&user, &["list", "--server", url], "").await;
    assert!(list.out.contains(&id) && list.out.contains("Write 3 words"), "{list:?}");
    let shown = chat(&user, &["show", "--server", url, &id], "").await;
    assert!(shown.out.contains("user: Write 3 words\n\nassistant: word-1 word-2 word-3\n"), "{shown:?}");
    let found = chat(&user, &["search", "--server", url, "squeal"], "").await;
    assert!(found.out.contains(&id), "{found:?}");

    let run = async |arguments: &[&str]| {
        user.run(&binary("turnpike"), &[&["chat", "--server", url], arguments].concat(), "").await
    };
    let nothing = run(&[]).await;
    assert!(nothing.code == Some(1) && nothing.err.contains("there is nothing to ask"), "{nothing:?}");
    let unknown = run(&["--conversation", "x", "Why?"]).await;
    assert!(unknown.code == Some(1) && unknown.err.contains("(404)"), "{unknown:?}");
}

#[tokio::test]
async fn ctrl_c_stops_the_answer_at_the_server() {
    let turnpike = SingleProcess::start(&[("TURNPIKE_LLM_SCRIPTED_DELAY_MS", "20")]).await;
    let admin = turnpike.admin().await;
    let user = environment();
    let (child, mut out) = begin(&user, turnpike.url(), "Write 100000 words", "word-3 ").await;
    let id = child.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().await.expect("kill is on the PATH").success());
    let output = within("the program to exit", 20, child.wait_with_output()).await.expect("the output is read");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    out.push_str(&String::from_utf8(output.stdout).expect("UTF-8"));
    let id = conversation(&String::from_utf8(output.stderr).expect("UTF-8"));
    let stored = messages(&admin, &id).await.pop().expect("a message");
    assert_eq!((&stored["state"], stored["content"].as_str()), (&"stopped".into(), Some(out.trim_end_matches('\n'))));
}

#[tokio::test]
async fn a_cut_answer_is_printed_without_loss_or_repetition() {
    let turnpike = SingleProcess::start(&[("TURNPIKE_LLM_SCRIPTED_DELAY_MS", "10")]).await;
    let proxy = Proxy::to(turnpike.url()).await;
    let user = environment();
    let (mut child, mut out) = begin(&user, proxy.url(), "Write 300 words", "word-3 ").await;
    for word in ["word-40 ", "word-80 "] {
        proxy.disconnect();
        tokio::task::yield_now().await;
        proxy.restore();
        while !out.contains(word) {
            read_some(&mut child, &mut out).await;
        }
    }
    proxy.disconnect();
    // The answer ends meanwhile.
    let admin = turnpike.admin().await;
    eventually("the end of the answer", 30, async || {
        let conversations = admin.get("/api/chat/conversations").await.json;
        let newest = messages(&admin, conversations[0]["id"].as_str()?).await.pop()?;
        (newest["state"] == "complete").then_some(())
    })
    .await;
    proxy.restore();
    let output = within("the program to exit", 30, child.wait_with_output()).await.expect("the output is read");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    out.push_str(&String::from_utf8(output.stdout).expect("UTF-8"));
    let words: Vec<_> = (1..=300).map(|n| format!("word-{n}")).collect();
    assert_eq!(out, format!("{}\n", words.join(" ")));
}

/// `script` (bsdutils, which every Debian has) gives the program a terminal.
#[tokio::test]
async fn lines_that_are_typed_are_asked_and_ctrl_c_stops_only_the_answer() {
    let turnpike = SingleProcess::start(&[("TURNPIKE_LLM_SCRIPTED_DELAY_MS", "20")]).await;
    let (admin, user) = (turnpike.admin().await, environment());
    let program = binary("turnpike");
    let command = format!("exec {} chat --server {}", program.display(), turnpike.url());
    let mut child = user.start("script".as_ref(), &["-qfec", &command, "/dev/null"]);
    let mut keys = child.stdin.take().expect("a pipe");
    let mut shown = String::new();
    // What stands before a prompt was answered.
    for (typed, expected) in [("Write 3 words\n", "word-3"), ("Write 100000 words\n", "word-5 "), ("\x03", "\n> ")] {
        if typed != "\x03" {
            while !shown.ends_with("> ") {
                read_some(&mut child, &mut shown).await;
            }
        }
        shown.clear();
        keys.write_all(typed.as_bytes()).await.expect("it reads");
        while !shown.contains(expected) {
            read_some(&mut child, &mut shown).await;
        }
    }
    shown.clear();
    keys.write_all(b"Write 2 words\n\x04").await.expect("it reads");
    let output = within("the program to exit", 30, child.wait_with_output()).await.expect("the output is read");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let newest = admin.get("/api/chat/conversations").await.json[0]["id"].as_str().expect("one").to_owned();
    let answers = messages(&admin, &newest).await.into_iter().filter(|message| message["role"] == "assistant");
    let states: Vec<_> = answers.map(|answer| answer["state"].as_str().expect("a state").to_owned()).collect();
    assert_eq!(states, ["complete", "stopped", "complete"], "one conversation, and one of its answers was stopped");
}
