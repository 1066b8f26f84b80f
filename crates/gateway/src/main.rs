//! `turnpike-gateway`: the public entry point in a process of its own.

fn main() -> std::process::ExitCode {
    turnpike_kit::run_service("turnpike-gateway", turnpike_gateway::serve)
}
