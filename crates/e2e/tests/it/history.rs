//! Every event exactly once or reported, while gateways are killed and paused and clients are cut, stall and resume. `scripts/stress`
//! runs the same for longer.

use std::process::Command;

use turnpike_testkit::binary;

#[test]
fn every_client_gets_every_event_exactly_once() {
    let arguments = ["history", "--clients", "6", "--topics", "3", "--rate", "200", "--seconds", "8", "--seed", "7"];
    let output = Command::new(binary("turnpike-bench")).args(arguments).output().expect("the binary starts");
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("exactly once"), "{out}\n{error}");
}
