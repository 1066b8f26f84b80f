//! What a person who has just started everything wants to know.

use std::net::SocketAddr;

use secrecy::ExposeSecret;
use turnpike::Started;
use turnpike_kit::Environment;

/// Says where the door is, how to get in, and one line that shows a vehicle answering.
#[expect(clippy::print_stdout, reason = "for the person at the terminal, whatever the log's level is")]
pub(crate) fn say(started: &Started, env: &Environment) {
    let address = started.address;
    let here =
        if address.ip().is_unspecified() { SocketAddr::new([127, 0, 0, 1].into(), address.port()) } else { address };
    println!("\nTurnpike is ready: http://{here}  (API: http://{here}/docs)");
    let password = match &started.first_admin {
        Some((email, password)) => {
            println!("First admin: {email}, password: {} (shown only now)", password.expose_secret());
            password.expose_secret()
        }
        None => "<the admin's password>",
    };
    // The client reads the same variables; only what differs from its defaults is said.
    let mut variables = format!("TURNPIKE_ADMIN_PASSWORD='{password}'");
    if env.get("TURNPIKE_ADMIN_PASSWORD").is_ok_and(|set| set.is_some()) {
        variables = "TURNPIKE_ADMIN_PASSWORD=\"$TURNPIKE_ADMIN_PASSWORD\"".to_owned();
    }
    let (program, vin) = (turnpike_kit::executable(), started.vin.as_deref().unwrap_or("<VIN>"));
    println!("\nWatch a vehicle answer (copy this line into another terminal):\n");
    println!(
        "  {variables} {program} command --server http://{here} --vehicle {vin} ReadDTC --param ecuAddress=0x10\n"
    );
}
