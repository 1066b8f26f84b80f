//! The JavaScript client and the web console: their types, and their tests in Node and in Chromium (`node --test`).

use std::{
    fs,
    process::{Command, Output},
};

use serde_json::json;
use tempfile::TempDir;
use turnpike_testkit::{SingleProcess, Stack, captions_model, node, node_packages, pcm, recordings};

use crate::architecture::root;

/// Fails with everything that the program has printed.
fn succeeded(output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

async fn node_test(file: &'static str, variables: Vec<(&'static str, String)>) {
    let run = move || node(&root(), &["--experimental-websocket", "--test", "--test-reporter=spec", file], &variables);
    succeeded(&tokio::task::spawn_blocking(run).await.expect("no panic"));
}

fn tsc(arguments: &[&str]) -> Output {
    let tsc = node_packages(&root()).join("node_modules/.bin/tsc");
    Command::new(tsc).args(arguments).current_dir(root()).output().expect("tsc runs")
}

#[test]
fn javascript_types() {
    succeeded(&tsc(&["-p", "clients/javascript"]));
    let directory = TempDir::new().expect("a directory");
    let out = directory.path().to_str().expect("UTF-8");
    succeeded(&tsc(&[
        "-p",
        "clients/javascript",
        "--noEmit",
        "false",
        "--declaration",
        "--emitDeclarationOnly",
        "--outDir",
        out,
    ]));
    let written = fs::read_to_string(directory.path().join("turnpike.d.ts")).expect("the types");
    let kept = fs::read_to_string(root().join("clients/javascript/turnpike.d.ts")).expect("the types");
    assert!(
        written == kept,
        "clients/javascript/turnpike.d.ts: run tsc -p clients/javascript --noEmit false --declaration --emitDeclarationOnly"
    );
}

/// The console imports the client by the path at which it is served, and the types of the vendored libraries are in their packages.
#[test]
fn console_types() {
    let (root, directory) = (root(), TempDir::new().expect("a directory"));
    let (assets, layout) = (root.join("crates/console/assets"), directory.path().join("layout"));
    fs::create_dir_all(layout.join("client")).expect("a folder");
    for file in ["turnpike.js", "turnpike.d.ts"] {
        fs::copy(root.join("clients/javascript").join(file), layout.join("client").join(file)).expect("a copy");
    }
    let packages = node_packages(&root).join("node_modules");
    let package = |name: &str| [packages.join(name)];
    let names = ["preact", "preact/hooks", "@preact/signals", "@preact/signals-core", "marked"];
    let paths: serde_json::Map<_, _> = names.map(|name| (name.to_owned(), json!(package(name)))).into_iter().collect();
    let configuration = json!({
        "extends": root.join("crates/console/tsconfig.json"),
        "compilerOptions": { "rootDirs": [assets, layout], "paths": paths },
        "include": [assets.join("**/*.js")],
        "exclude": [assets.join("vendor"), assets.join("capture/pcm-worklet.js")],
    });
    let file = directory.path().join("tsconfig.json");
    fs::write(&file, configuration.to_string()).expect("a file");
    succeeded(&tsc(&["-p", file.to_str().expect("UTF-8")]));
}

#[test]
fn vendored_files_are_those_of_the_packages() {
    succeeded(&Command::new(root().join("scripts/vendor")).arg("--check").output().expect("scripts/vendor runs"));
}

#[tokio::test]
async fn javascript_client() {
    node_test("clients/javascript/test/client.test.mjs", Vec::new()).await;
}

/// Runs the examples of the client's README that say so.
#[tokio::test]
async fn javascript_examples() {
    let product = SingleProcess::start(&[]).await;
    let admin = product.admin().await;
    let folder = root().join("clients/javascript");
    let readme = fs::read_to_string(folder.join("README.md")).expect("text");
    let examples: Vec<_> = readme.split("<!-- run by the test `javascript` -->\n```js\n").skip(1).collect();
    assert_eq!(examples.len(), 2);
    let client = folder.join("turnpike.js");
    for (example, expected) in examples.into_iter().zip(["completed", "word-5"]) {
        let code = example
            .split("```")
            .next()
            .expect("a block")
            .replace("./turnpike.js", &format!("file://{}", client.display()));
        let variables = [("TURNPIKE", product.url().to_owned()), ("TURNPIKE_TOKEN", admin.token.clone())];
        let run = move || node(&root(), &["--experimental-websocket", "--input-type=module", "-e", &code], &variables);
        let output = tokio::task::spawn_blocking(run).await.expect("no panic");
        succeeded(&output);
        assert!(String::from_utf8_lossy(&output.stdout).contains(expected), "{output:?}");
    }
}

#[tokio::test]
async fn console_screens() {
    node_test("crates/console/test/screens.test.mjs", Vec::new()).await;
}

/// Every service is a separate process, so that a gateway can be killed while the others go on.
#[tokio::test]
async fn console_live() {
    // A vehicle sends its first piece after 7 to 21 s: a command runs when the gateway is killed, and ends before its deadline of 30 s.
    let stack = Stack::start(1, &[("TURNPIKE_MOCK_DELAY_MS", "14000"), ("TURNPIKE_LLM_SCRIPTED_DELAY_MS", "5")]).await;
    let gateway = &stack.gateways[0];
    let described = json!({ "url": stack.url(0), "pid": gateway.id(), "program": gateway.program(), "environment": gateway.variables(), "directory": gateway.directory() });
    node_test("crates/console/test/live.test.mjs", vec![("TURNPIKE_TEST_GATEWAY", described.to_string())]).await;
}

#[tokio::test]
async fn console_first_start() {
    let directory = TempDir::new().expect("a directory");
    node_test("crates/console/test/first-start.test.mjs", vec![speech(&directory)]).await;
}

#[tokio::test]
async fn console_captions() {
    let directory = TempDir::new().expect("a directory");
    node_test("crates/console/test/captions.test.mjs", vec![speech(&directory)]).await;
}

/// Two sentences with a pause behind each, and the model that transcribes them.
fn speech(directory: &TempDir) -> (&'static str, String) {
    let (mut audio, mut said) = (vec![0; 16_000], String::new());
    for recording in recordings().into_iter().skip(1).take(2) {
        audio.extend(pcm(&recording.samples));
        audio.extend([0; 32_000]);
        said += &format!("{} ", recording.text);
    }
    let file = directory.path().join("speech.pcm");
    fs::write(&file, audio).expect("a file");
    ("TURNPIKE_TEST_SPEECH", json!({ "model": captions_model(), "pcm": file, "said": said }).to_string())
}
