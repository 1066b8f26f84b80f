//! `turnpike-mock-vehicle-connector`: simulated vehicles in a process of their own.

fn main() -> std::process::ExitCode {
    turnpike_kit::run_service("turnpike-mock-vehicle-connector", turnpike_mock_vehicle_connector::serve)
}
