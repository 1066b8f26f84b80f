//! Programs in Node that test the product from outside: the JavaScript client and the console.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::binary;

/// The directory with the npm packages of `crates/e2e/browser`. `./scripts/test` installs them while there is a network.
pub fn node_packages(root: &Path) -> PathBuf {
    let fetched = Command::new(root.join("scripts/fetch"))
        .args(["node", "browser", "crates/e2e/browser"])
        .current_dir(root)
        .output();
    let output = fetched.expect("scripts/fetch runs");
    assert!(
        output.status.success(),
        "The npm packages of crates/e2e/browser are missing; ./scripts/test installs them:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    PathBuf::from(String::from_utf8(output.stdout).expect("UTF-8").trim())
}

/// Runs Node with these arguments in the folder of the workspace. Programs find the binaries and the packages by their environment.
pub fn node(root: &Path, arguments: &[&str], variables: &[(&str, String)]) -> Output {
    let binaries = binary("turnpike").parent().expect("a folder").to_owned();
    Command::new("node")
        .args(arguments)
        .env("TURNPIKE_TEST_BINARIES", binaries)
        .env("TURNPIKE_TEST_NODE_PACKAGES", node_packages(root))
        .envs(variables.iter().map(|(name, value)| (*name, value)))
        .current_dir(root)
        .output()
        .expect("Node is missing: ./scripts/test installs it as root on Debian; elsewhere, install Node 20 or later")
}
