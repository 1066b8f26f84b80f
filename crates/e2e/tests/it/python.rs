//! The Python client: installed from its folder, tested against the product, and the examples of its README.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;
use turnpike_testkit::{ADMIN_PASSWORD, SingleProcess};

use crate::architecture::root;

/// The interpreter of a virtual environment with these requirements. `./scripts/test` installs it while there is a network.
pub fn interpreter(name: &str, requirements: &str) -> String {
    let file = fs::File::open(root().join(requirements)).expect("a file");
    let fetch = Command::new(root().join("scripts/fetch")).args(["python", name]).stdin(file).output();
    let output = fetch.expect("scripts/fetch runs");
    assert!(
        output.status.success(),
        "The packages of {requirements} are missing; ./scripts/test installs them:\n{}",
        text(&output)
    );
    format!("{}/bin/python", String::from_utf8_lossy(&output.stdout).trim())
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn run(arguments: &[&str], installed: &Path, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(interpreter("python-client", "clients/python/requirements.txt"));
    let output = command
        .args(arguments)
        .env("PYTHONPATH", installed)
        .envs(variables.iter().copied())
        .current_dir(root())
        .output();
    let output = output.expect("Python runs");
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

#[tokio::test]
async fn python_client() {
    let product =
        SingleProcess::start(&[("TURNPIKE_MOCK_DELAY_MS", "40"), ("TURNPIKE_LLM_SCRIPTED_DELAY_MS", "2")]).await;
    let admin = product.admin().await;
    let directory = TempDir::new().expect("a directory");
    // A copy, because the build writes beside the sources.
    let (source, installed) = (directory.path().join("source"), directory.path().join("installed"));
    let copied =
        Command::new("cp").arg("-r").arg(root().join("clients/python")).arg(&source).status().expect("cp runs");
    assert!(copied.success());
    let (url, token) = (product.url().to_owned(), admin.token.clone());
    let work = move || {
        let variables =
            [("TURNPIKE", url.as_str()), ("TURNPIKE_TOKEN", token.as_str()), ("TURNPIKE_PASSWORD", ADMIN_PASSWORD)];
        let [from, to] = [&source, &installed].map(|path| path.to_str().expect("UTF-8"));
        // Without a network: the dependency and the build tool are in the virtual environment.
        run(
            &[
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--no-build-isolation",
                "--no-index",
                "--target",
                to,
                from,
            ],
            &installed,
            &[],
        );
        assert!(installed.join("turnpike_client/py.typed").is_file());
        run(&["-m", "unittest", "discover", "-s", "clients/python/tests"], &installed, &variables);
        let readme = fs::read_to_string(root().join("clients/python/README.md")).expect("text");
        let examples: Vec<_> = readme.split("<!-- run by the test `python` -->\n```python\n").skip(1).collect();
        assert_eq!(examples.len(), 2);
        for (example, expected) in examples.into_iter().zip(["completed", "word-5"]) {
            let code = example.split("```").next().expect("a block");
            assert!(run(&["-c", code], &installed, &variables).contains(expected));
        }
    };
    tokio::task::spawn_blocking(work).await.expect("no panic");
}
