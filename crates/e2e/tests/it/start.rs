//! Starts that do not succeed, and what is known after them.

use std::{collections::BTreeMap, process::Command};

use tempfile::TempDir;
use turnpike_testkit::{RedisServer, ServiceProcess, binary, eventually};

fn one(directory: &TempDir, variables: &[(&str, &str)]) -> ServiceProcess {
    let mut all = BTreeMap::from([("TURNPIKE_HTTP".to_owned(), "127.0.0.1:0".to_owned())]);
    all.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let mut process = ServiceProcess::new("turnpike", "turnpike", all, directory.path());
    process.start();
    process
}

async fn code(process: &mut ServiceProcess) -> Option<i32> {
    let ended = eventually("the process to end", 20, || {
        let ended = process.exit_status();
        async move { ended }
    });
    ended.await.code()
}

#[tokio::test]
async fn who_waits_for_a_redis_that_is_not_there_can_be_stopped() {
    let (directory, redis) = (TempDir::new().expect("a directory"), RedisServer::reserve(false));
    let mut process = one(&directory, &[("TURNPIKE_REDIS_URL", &redis.url())]);
    eventually("the first admin", 20, || {
        let log = process.log();
        async move { log.contains("First admin: admin@turnpike.local (username admin), password: ").then_some(()) }
    })
    .await;
    assert!(!process.log().contains("Turnpike is ready"), "it is not");
    assert_eq!(process.stop().await.code(), Some(0), "{}", process.log());
}

/// A password that was generated is said, even if nothing else comes of the start: it is never said again.
#[tokio::test]
async fn a_generated_password_survives_a_start_that_fails() {
    let directory = TempDir::new().expect("a directory");
    let odd = [("TURNPIKE_VEHICLES_DATABASE_URL", "mysql://x"), ("TURNPIKE_OFFLINE", "0")];
    let mut failing = one(&directory, &odd);
    assert_eq!(code(&mut failing).await, Some(1));
    let log = failing.log();
    assert!(log.contains("(shown only now)"), "{log}");
    assert!(log.contains("TURNPIKE_VEHICLES_DATABASE_URL: a database URL begins with"), "{log}");
    let mut again = one(&directory, &[]);
    eventually("everything", 20, || {
        let log = again.log();
        async move { log.contains("Turnpike is ready: ").then_some(()) }
    })
    .await;
    assert_eq!(again.log().matches("(shown only now)").count(), 1, "by the first start only: {}", again.log());
    assert_eq!(again.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_level_that_is_none_stops_the_start() {
    for odd in ["nonsense", "inof", "turnpike_bus=debug,inof"] {
        let directory = TempDir::new().expect("a directory");
        let mut process = one(&directory, &[("TURNPIKE_LOG", odd)]);
        assert_eq!(code(&mut process).await, Some(1), "{odd}");
        assert!(process.log().contains("TURNPIKE_LOG"), "{}", process.log());
    }
}

#[test]
fn services_take_no_arguments_and_say_so() {
    for name in ["gateway", "auth", "vehicles", "mock-vehicle-connector"] {
        let run = |argument: &str| {
            let output = Command::new(binary(&format!("turnpike-{name}"))).arg(argument).output().expect("a program");
            let text = [output.stdout, output.stderr].concat();
            (output.status.code(), String::from_utf8(text).expect("text"))
        };
        assert_eq!(run("--help").0, Some(0), "{name}");
        assert!(run("--version").1.starts_with(&format!("turnpike-{name} ")), "{name}");
        assert_eq!(run("serve").0, Some(2), "{name}");
    }
}
