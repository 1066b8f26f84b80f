//! `turnpike-vehicles`: registry, commands and their archive in a process of their own.

fn main() -> std::process::ExitCode {
    turnpike_kit::run_service("turnpike-vehicles", turnpike_vehicles::serve)
}
