//! Starts that fail or wait, and their output.

use std::{collections::BTreeMap, process::Command};

use tempfile::TempDir;
use turnpike_testkit::{RedisServer, ServiceProcess, binary, eventually};

fn start(directory: &TempDir, variables: &[(&str, &str)]) -> ServiceProcess {
    let mut all = BTreeMap::from([("TURNPIKE_HTTP".to_owned(), "127.0.0.1:0".to_owned())]);
    all.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let mut process = ServiceProcess::new("turnpike", "turnpike", all, directory.path());
    process.start();
    process
}

async fn exit_code(process: &mut ServiceProcess) -> Option<i32> {
    let status = eventually("the process to exit", 20, || {
        let status = process.exit_status();
        async move { status }
    });
    status.await.code()
}

#[tokio::test]
async fn a_start_that_waits_for_redis_can_be_stopped() {
    let (directory, redis) = (TempDir::new().expect("a directory"), RedisServer::reserve(false));
    let mut process = start(&directory, &[("TURNPIKE_REDIS_URL", &redis.url())]);
    eventually("the first admin", 20, || {
        let log = process.log();
        async move { log.contains("First admin: admin@turnpike.local (username admin), password: ").then_some(()) }
    })
    .await;
    assert!(!process.log().contains("Turnpike is ready"), "turnpike is not ready without Redis");
    assert_eq!(process.stop().await.code(), Some(0), "{}", process.log());
}

/// A generated password is printed only once, so it must be printed even if the start fails later.
#[tokio::test]
async fn a_generated_password_is_printed_before_a_start_fails() {
    let directory = TempDir::new().expect("a directory");
    let invalid = [("TURNPIKE_VEHICLES_DATABASE_URL", "mysql://x"), ("TURNPIKE_OFFLINE", "0")];
    let mut failing = start(&directory, &invalid);
    assert_eq!(exit_code(&mut failing).await, Some(1));
    let log = failing.log();
    assert!(log.contains("(shown only now)"), "{log}");
    assert!(log.contains("TURNPIKE_VEHICLES_DATABASE_URL: a database URL begins with"), "{log}");
    let mut second = start(&directory, &[]);
    eventually("turnpike to be ready", 20, || {
        let log = second.log();
        async move { log.contains("Turnpike is ready: ").then_some(()) }
    })
    .await;
    assert_eq!(
        second.log().matches("(shown only now)").count(),
        1,
        "printed by the first start only: {}",
        second.log()
    );
    assert_eq!(second.stop().await.code(), Some(0));
}

#[tokio::test]
async fn an_invalid_log_level_stops_the_start() {
    for level in ["nonsense", "inof", "turnpike_bus=debug,inof"] {
        let directory = TempDir::new().expect("a directory");
        let mut process = start(&directory, &[("TURNPIKE_LOG", level)]);
        assert_eq!(exit_code(&mut process).await, Some(1), "{level}");
        assert!(process.log().contains("TURNPIKE_LOG"), "{}", process.log());
    }
}

#[test]
fn services_refuse_arguments() {
    for name in ["gateway", "auth", "chat", "captions", "vehicles", "mock-vehicle-connector"] {
        let run = |argument: &str| {
            let output =
                Command::new(binary(&format!("turnpike-{name}"))).arg(argument).output().expect("the program starts");
            let text = [output.stdout, output.stderr].concat();
            (output.status.code(), String::from_utf8(text).expect("text"))
        };
        assert_eq!(run("--help").0, Some(0), "{name}");
        assert!(run("--version").1.starts_with(&format!("turnpike-{name} ")), "{name}");
        assert_eq!(run("serve").0, Some(2), "{name}");
    }
}
