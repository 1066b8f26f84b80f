//! What a person who has just started everything wants to know.

use std::net::SocketAddr;

use secrecy::ExposeSecret;
use turnpike::{FirstAdmin, Started};

/// The first admin's password, if it was generated: said at once, and never again.
#[expect(clippy::print_stdout, reason = "for the person at the terminal, whatever the log's level is")]
pub(crate) fn first_admin(admin: &FirstAdmin) -> Option<String> {
    let password = admin.generated.as_ref()?.expose_secret();
    println!("\nFirst admin: {} (username admin), password: {password} (shown only now)", admin.email);
    Some(password.to_owned())
}

/// Where the door is, and one line that shows a vehicle answering.
#[expect(clippy::print_stdout, reason = "for the person at the terminal, whatever the log's level is")]
pub(crate) fn ready(started: &Started, password: Option<&str>) {
    let address = started.address;
    let here =
        if address.ip().is_unspecified() { SocketAddr::new([127, 0, 0, 1].into(), address.port()) } else { address };
    println!("\nTurnpike is ready: http://{here}  (API: http://{here}/docs)");
    let Some(vin) = &started.vin else { return };
    match password {
        Some(_) => println!("\nWatch a vehicle answer (copy this line into another terminal):\n"),
        None => println!("\nWatch a vehicle answer (in another terminal, with the admin's password for PASSWORD):\n"),
    }
    println!(
        "  TURNPIKE_ADMIN_PASSWORD='{}' {} command --server http://{here} --vehicle {vin} ReadDTC --param ecuAddress=0x10\n",
        password.unwrap_or("PASSWORD"),
        turnpike_kit::executable(),
    );
}
