//! `turnpike-auth`: users, sessions and tokens in a process of their own.

fn main() -> std::process::ExitCode {
    turnpike_kit::run_service("turnpike-auth", turnpike_auth::serve)
}
