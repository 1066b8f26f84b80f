//! `turnpike-vehicles`: the registry of vehicles and the commands, in a process of their own.

fn main() -> std::process::ExitCode {
    turnpike_kit::run_service("turnpike-vehicles", turnpike_vehicles::serve)
}
