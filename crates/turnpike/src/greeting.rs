//! What a person who has just started everything wants to know.

use std::{net::SocketAddr, path::Path};

use secrecy::ExposeSecret;
use turnpike::{FirstAdmin, Started};
use turnpike_kit::variables;

/// The first admin's password, if it was generated: printed at once, and never again.
#[expect(clippy::print_stdout, reason = "for the person at the terminal, whatever the log's level is")]
pub(crate) fn first_admin(admin: &FirstAdmin) {
    if let Some(password) = &admin.generated {
        let password = password.expose_secret();
        println!("\nFirst admin: {} (username admin), password: {password} (shown only now)", admin.email);
    }
}

/// The address, and the line that shows a vehicle answering.
#[expect(clippy::print_stdout, reason = "for the person at the terminal, whatever the log's level is")]
pub(crate) fn ready(started: &Started) {
    let address = started.address;
    let here =
        if address.ip().is_unspecified() { SocketAddr::new([127, 0, 0, 1].into(), address.port()) } else { address };
    println!("\nTurnpike is ready: http://{here}  (API: http://{here}/docs)");
    let Some(vin) = &started.vin else { return };
    let turnpike = turnpike_kit::executable();
    let near = turnpike.starts_with("./");
    let turnpike = word(&turnpike);
    let data_dir = started.one_time.as_deref().map(|path| data_dir(path, near)).unwrap_or_default();
    match &started.one_time {
        Some(_) => println!("\nWatch a vehicle answer (copy this line into another terminal):\n"),
        None => {
            println!(
                "\nWatch a vehicle answer (copy these lines into another terminal; the first asks for the password):\n"
            );
            println!("  {turnpike} login --server http://{here}");
        }
    }
    println!("  {turnpike} command --server http://{here}{data_dir} --vehicle {vin} ReadDTC --param ecuAddress=0x10\n");
}

/// `--data-dir`, where the client would not look by itself. A program that is named by a relative path is called in the directory
/// where a relative data directory is found, too.
fn data_dir(path: &Path, near: bool) -> String {
    if near && path == Path::new(variables::DATA_DIR.default.text()) {
        return String::new();
    }
    let path = if near { path.to_owned() } else { std::path::absolute(path).unwrap_or_else(|_| path.to_owned()) };
    format!(" --data-dir {}", word(&path.display().to_string()))
}

/// A word as a POSIX shell reads it.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_meant() {
        for (text, quoted) in [
            ("./target/release/turnpike", "./target/release/turnpike"),
            ("/home/ada/my data", "'/home/ada/my data'"),
            ("it's $HOME", r"'it'\''s $HOME'"),
            ("", "''"),
        ] {
            assert_eq!(word(text), quoted);
        }
    }

    #[test]
    fn the_client_is_told_where_to_look_unless_it_looks_there() {
        assert_eq!(data_dir(Path::new("./turnpike-data"), true), "");
        assert_eq!(data_dir(Path::new("./other"), true), " --data-dir ./other");
        assert_eq!(data_dir(Path::new("/var/lib/turnpike"), true), " --data-dir /var/lib/turnpike");
        assert!(data_dir(Path::new("./turnpike-data"), false).starts_with(" --data-dir /"));
    }
}
