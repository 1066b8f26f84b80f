//! `turnpike-chat`: conversations with language models, in a process of their own.

fn main() -> std::process::ExitCode {
    turnpike_kit::run_service("turnpike-chat", turnpike_chat::serve)
}
