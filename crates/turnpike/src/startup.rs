//! What `serve` prints: the password of the first admin, the address, and a command line to try.

use std::{io::IsTerminal, net::SocketAddr, path::Path};

use secrecy::ExposeSecret;
use turnpike::{FirstAdmin, Started};
use turnpike_kit::variables;

/// Prints the generated password of the first admin. It is stored only as a hash, so it is printed only once.
#[expect(clippy::print_stdout, reason = "shown on the terminal at every log level")]
pub(crate) fn first_admin(admin: &FirstAdmin) {
    if let Some(password) = &admin.generated {
        let password = password.expose_secret();
        println!("\nFirst admin: {} (username admin), password: {password} (shown only now)", admin.email);
    }
}

/// Whether a person reads the output. Output into a file, a pipe or a journal is kept, and gets no link that signs somebody in.
pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Prints the address, a link that signs the first admin in, and a command line that sends a command to a simulated vehicle.
#[expect(clippy::print_stdout, reason = "shown on the terminal at every log level")]
pub(crate) fn ready(started: &Started) {
    let address = started.address;
    let reachable =
        if address.ip().is_unspecified() { SocketAddr::new([127, 0, 0, 1].into(), address.port()) } else { address };
    println!("\nTurnpike is ready: http://{reachable}  (API: http://{reachable}/docs)");
    if let Some(code) = &started.link_code {
        // After `#`, the code is not part of any request line, so no server and no proxy logs it.
        let code = code.expose_secret();
        println!(
            "\nOpen the console as admin (works once, within 15 minutes, on this machine):\n\n  http://{reachable}/console/#code={code}"
        );
    } else {
        println!("The console: http://{reachable}/console/");
    }
    let Some(vin) = &started.vin else { return };
    let turnpike = turnpike_kit::executable();
    let relative = turnpike.starts_with("./");
    let turnpike = quote(&turnpike);
    let data_dir = started.one_time.as_deref().map(|path| data_dir(path, relative)).unwrap_or_default();
    match &started.one_time {
        Some(_) if relative => {
            println!("\nWatch a vehicle answer (copy this line into another terminal, in the same directory):\n");
        }
        Some(_) => println!("\nWatch a vehicle answer (copy this line into another terminal):\n"),
        None => {
            println!(
                "\nWatch a vehicle answer (copy these lines into another terminal; the first asks for the password):\n"
            );
            println!("  {turnpike} login --server http://{reachable}");
        }
    }
    println!(
        "  {turnpike} command --server http://{reachable}{data_dir} --vehicle {vin} ReadDTC --param ecuAddress=0x10\n"
    );
}

/// The `--data-dir` option, or nothing if the client finds the directory without it. A program with a relative path is started in the
/// directory that a relative data directory refers to.
fn data_dir(path: &Path, relative: bool) -> String {
    if relative && path == Path::new(variables::DATA_DIR.default.text()) {
        return String::new();
    }
    let path = if relative { path.to_owned() } else { std::path::absolute(path).unwrap_or_else(|_| path.to_owned()) };
    format!(" --data-dir {}", quote(&path.display().to_string()))
}

/// Quotes an argument for a POSIX shell.
fn quote(text: &str) -> String {
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
    fn arguments_are_quoted_for_a_shell() {
        for (text, quoted) in [
            ("./target/release/turnpike", "./target/release/turnpike"),
            ("/home/ada/my data", "'/home/ada/my data'"),
            ("it's $HOME", r"'it'\''s $HOME'"),
            ("", "''"),
        ] {
            assert_eq!(quote(text), quoted);
        }
    }

    #[test]
    fn the_data_directory_is_given_unless_it_is_the_default() {
        assert_eq!(data_dir(Path::new("./turnpike-data"), true), "");
        assert_eq!(data_dir(Path::new("./other"), true), " --data-dir ./other");
        assert_eq!(data_dir(Path::new("/var/lib/turnpike"), true), " --data-dir /var/lib/turnpike");
        assert!(data_dir(Path::new("./turnpike-data"), false).starts_with(" --data-dir /"));
    }
}
