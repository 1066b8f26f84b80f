//! The checked-in code is what `proto/` says.

use std::{fs, path::Path};

use prost::Message;

const FILES: [&str; 12] = [
    "turnpike/auth/v1/auth.proto",
    "turnpike/captions/v1/captions.proto",
    "turnpike/chat/v1/answer.proto",
    "turnpike/chat/v1/conversation.proto",
    "turnpike/chat/v1/model.proto",
    "turnpike/chat/v1/room.proto",
    "turnpike/event/v1/event.proto",
    "turnpike/stream/v1/frame.proto",
    "turnpike/topic/v1/topic.proto",
    "turnpike/vehicle/v1/vehicle.proto",
    "turnpike/vehicle/v1/connector.proto",
    "turnpike/vehicle/v1/mock.proto",
];

#[test]
fn generated_code_is_fresh() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.join("../../proto");
    let mut listed: Vec<_> = walk(&root);
    listed.sort();
    let mut expected = FILES.map(|f| root.join(f)).to_vec();
    expected.sort();
    assert_eq!(listed, expected, "every .proto file has its line in this test");

    let descriptors = protox::compile(FILES, [&root]).expect("proto/ compiles");
    let fresh = tempfile::tempdir().expect("a temporary directory");
    tonic_prost_build::configure()
        .out_dir(fresh.path())
        .bytes(".turnpike.chat.v1") // bodies are passed on without a copy
        .bytes(".turnpike.captions.v1") // and audio
        .compile_fds(descriptors.clone())
        .expect("code can be generated");
    let mut lean = descriptors;
    for file in &mut lean.file {
        file.source_code_info = None; // comments and positions: reflection has no use for them
    }
    fs::write(fresh.path().join("descriptors.bin"), lean.encode_to_vec()).expect("writable");

    let checked_in = here.join("src/gen");
    let mut stale = Vec::new();
    for entry in fs::read_dir(fresh.path()).expect("readable") {
        let entry = entry.expect("readable");
        let name = entry.file_name();
        // google.protobuf comes from prost-types
        if name.to_string_lossy().starts_with("google.") {
            continue;
        }
        let new = fs::read(entry.path()).expect("readable");
        let target = checked_in.join(&name);
        if fs::read(&target).ok().as_deref() != Some(&new) {
            fs::write(&target, new).expect("writable");
            stale.push(name);
        }
    }
    assert!(
        stale.is_empty(),
        "{stale:?} did not match proto/ and have been rewritten: look at the difference and commit it"
    );
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else if path.extension().is_some_and(|e| e == "proto") {
            found.push(path);
        }
    }
    found
}
