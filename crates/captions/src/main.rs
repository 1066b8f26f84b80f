//! `turnpike-captions`: live captions in a process of their own.

fn main() -> std::process::ExitCode {
    turnpike_kit::run_service("turnpike-captions", turnpike_captions::serve)
}
