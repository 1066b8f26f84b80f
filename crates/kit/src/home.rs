//! The configuration directory of the operating system's user. Its two variables are the only ones that are read and are not
//! named `TURNPIKE_*`.

use std::path::PathBuf;

/// The user's configuration directory: `$XDG_CONFIG_HOME`, else `$HOME/.config` (XDG Base Directory Specification 0.8). A
/// relative path counts as not set, as the specification says. `None` for a user without a home directory.
#[expect(clippy::disallowed_methods, reason = "the environment is read in this crate only")]
pub fn config_home() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")))
}
